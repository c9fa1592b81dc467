# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The depth node: camera images in, metric depth and point clouds out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMessage
from std_srvs.srv import SetBool

from mono_metric_depth.estimator import DEFAULT_MODEL, DepthEstimator
from mono_metric_depth.nodes.depth_outputs import DepthOutputs
from mono_metric_depth.nodes.frame_statistics import FrameStatistics
from mono_metric_depth.nodes.frame_worker import FrameWorker
from mono_metric_depth.nodes.parameters import RULES, changed_parameters, declare_parameters

_SENSOR = QoSProfile(
    depth=1, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT
)
# Small, and each belongs to one image: none may be overwritten unread.
_CALIBRATION = QoSProfile(
    depth=10, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT
)
#: How long the frame in work may take to finish (s): when deactivated, and when the node ends.
_PATIENCE = 5.0
_LAST_PATIENCE = 1.5
_SUCCESS = TransitionCallbackReturn.SUCCESS


class DepthNode(LifecycleNode):
    """Subscribes to ``image`` and ``camera_info``; publishes depth while anyone listens.

    Configured, it has its engine and its output topics; active, its inputs as well. The newest
    image wins: one that arrives while another is being worked on replaces any that waits. The
    executor's thread only receives; a thread of its own (:class:`FrameWorker`) does the work.

    Attributes:
        refused: Done, with the reason, where the node was to start by itself and could not.

    Raises:
        ValueError, ParameterException: If a parameter is not among its allowed values.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__('depth_node', **options)
        self.refused = Future()
        self._values = declare_parameters(self)
        self._estimator: DepthEstimator | None = None
        self._outputs: DepthOutputs | None = None
        self._worker: FrameWorker | None = None
        self._inputs: list[Any] = []
        self._statistics = FrameStatistics()
        self._enabled = True
        self._refusal = ''
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.create_service(SetBool, '~/set_enabled', self._on_set_enabled)
        for service in self.services:
            if service.srv_type is ChangeState:
                service.callback = self._without_raising(service.callback)
        # Simulated time may stand still; that is when a person looks at the diagnostics.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)
        self._starter: Any = None
        if self._values.autostart:
            self._starter = self.create_timer(0.0, self._start, clock=steady)

    @property
    def state(self) -> str:
        """Label of the lifecycle's state, such as ``inactive``."""
        return str(self._state_machine.current_state[1])

    def destroy_node(self) -> None:
        """Let the frame in work finish, then end the node."""
        self._stop(_LAST_PATIENCE)
        super().destroy_node()
        # It holds on to the node, whose log would stay on /rosout.
        self._state_machine.destroy_when_not_in_use()

    # Lifecycle.

    def _start(self) -> None:
        self._starter.cancel()
        if self.state == 'unconfigured' and not (  # else somebody was faster
            self.trigger_configure() == _SUCCESS and self.trigger_activate() == _SUCCESS
        ):
            self.refused.set_result(self._refusal)
        self._starter = None

    def _without_raising(self, change_state: Any) -> Any:
        """What answers change_state; rclpy's own lets a transition that is not possible raise."""

        def answer(request: Any, response: Any) -> Any:
            try:
                return change_state(request, response)
            except RuntimeError as err:
                self.get_logger().error(f'no such transition from {self.state}: {err}')
                response.success = False
                return response

        return answer

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and warm the engine, create the output topics."""
        path = Path(self._values.model or DEFAULT_MODEL).expanduser()
        try:
            self._estimator = DepthEstimator.load(
                path,
                engine=self._values.engine,
                precision=self._values.precision,
                threads=self._values.threads,
                say=self.get_logger().info,
                on_step=self._require_ros,
            )
            self._outputs = DepthOutputs(self)
        except Exception as err:
            self._free()
            return self._refuse('configure', err)
        self._refusal = ''
        card, engine = self._estimator.card, self._estimator.engine
        scale = card.scale
        assert scale is not None  # the estimator asks for one
        self.get_logger().info(
            f'model {card.name} ({path}), scale {scale.value:.4g} '
            f'[{scale.low:.4g}, {scale.high:.4g}], engine '
            f'{engine.name} on {engine.provider}'
        )
        return _SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the inputs and start to work.

        Of earlier frames nothing is kept, their calibration neither: it may have changed unseen.
        """
        assert self._estimator is not None
        assert self._outputs is not None
        self._worker = FrameWorker(
            self, self._estimator, self._outputs, self._statistics, self._values
        )
        overrides = QoSOverridingOptions.with_default_policies()
        compressed = self._values.image_transport == 'compressed'
        image_type = CompressedImage if compressed else ImageMessage
        try:
            for kind, topic, callback, qos in (
                (CameraInfo, 'camera_info', self._worker.newest.put_info, _CALIBRATION),
                (image_type, self._image_topic(), self._on_image, _SENSOR),
            ):
                self._inputs.append(
                    self.create_subscription(
                        kind, topic, callback, qos, qos_overriding_options=overrides
                    )
                )
        except Exception as err:
            self._stop(_PATIENCE)
            return self._refuse('activate', err)
        self._refusal = ''
        return _SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop; the engine stays."""
        if not self._stop(_PATIENCE):
            self._refuse('deactivate', f'the frame in work does not end within {_PATIENCE:g} s')
            return TransitionCallbackReturn.ERROR
        return _SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the engine and the output topics."""
        self._free()
        return _SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free all; the diagnostics go on."""
        return self.on_error(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free all; the state is finalized if the work does not end."""
        if not self._stop(_PATIENCE):
            return TransitionCallbackReturn.FAILURE
        self._free()
        return _SUCCESS

    def _stop(self, patience: float) -> bool:
        """Receive nothing more and let the frame in work finish; says whether it has."""
        while self._inputs:
            self.destroy_subscription(self._inputs.pop())
        if self._worker is not None and not self._worker.stop(patience):
            return False
        self._worker = None
        return True

    def _free(self) -> None:
        if self._outputs is not None:
            self._outputs.destroy()
        if self._estimator is not None:
            self._estimator.engine.close()
        self._outputs = self._estimator = None

    def _refuse(self, transition: str, reason: object) -> TransitionCallbackReturn:
        """Say why a transition fails; it may be tried again, except after the unforeseen."""
        # Errors of models are RuntimeError or ValueError, those of rcl RuntimeError.
        foreseen = isinstance(reason, (str, ParameterException, RuntimeError, ValueError))
        text = ' '.join(str(reason).split())
        self._refusal = text if foreseen else f'{type(reason).__name__}: {text}'
        # Whoever runs a node that is to start by itself hears of it through `refused`.
        if self.context.ok() and self._starter is None:
            self.get_logger().error(f'cannot {transition}: {self._refusal}')
        return TransitionCallbackReturn.FAILURE if foreseen else TransitionCallbackReturn.ERROR

    def _require_ros(self) -> None:
        """End what takes long when a signal has ended ROS."""
        if not self.context.ok():
            msg = 'ended while its engine was built'
            raise RuntimeError(msg)

    # Parameters.

    def _check_parameters(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        try:
            self._changed(parameters)
        except ValueError as err:
            return SetParametersResult(successful=False, reason=str(err))
        return SetParametersResult(successful=True)

    def _apply_parameters(self, parameters: Sequence[Parameter]) -> None:
        self._values = self._changed(parameters)
        if self._worker is not None:
            self._worker.values = self._values

    def _changed(self, parameters: Sequence[Parameter]) -> Any:
        return changed_parameters(
            self._values,
            {found.name: found.value for found in parameters if found.name in RULES},
            unconfigured=self.state == 'unconfigured',
        )

    # Frames.

    def _image_topic(self) -> str:
        # As image_transport does it: whoever remaps image means image/compressed too.
        topic = str(self.resolve_topic_name('image'))
        return topic if self._values.image_transport == 'raw' else f'{topic}/compressed'

    def _on_image(self, message: ImageMessage | CompressedImage) -> None:
        worker = self._worker
        if worker is None:  # it came while the node was deactivated
            return
        self._statistics.count('received')
        reason = worker.newest.put_image(message) if self._enabled else 'disabled'
        if reason:
            self._statistics.count(f'dropped: {reason}')

    def _on_set_enabled(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        self._enabled = request.data
        if not self._enabled and self._worker is not None and self._worker.newest.discard():
            self._statistics.count('dropped: disabled')
        response.success = True
        response.message = 'enabled' if request.data else 'disabled'
        return response

    # Diagnostics.

    def _publish_diagnostics(self) -> None:
        level, text = self._health()
        values = {'state': self.state, **self._statistics.values()}
        if self._worker is not None:
            values['coverage'] = f'{self._worker.coverage:.3f}'
            values |= self._worker.monitor.findings.values
        if self._estimator is not None:
            card, engine = self._estimator.card, self._estimator.engine
            scale = card.scale
            assert scale is not None
            values |= {
                'model': card.name,
                'scale': f'{scale.value:.6g}',
                'scale interval': f'{scale.low:.6g} .. {scale.high:.6g}',
                'engine': engine.name,
                'provider': engine.provider,
            }
            parity = getattr(engine, 'parity', None)  # ONNX Runtime is what others compare with
            if parity is not None:
                values['parity'] = str(parity)
        status = DiagnosticStatus(
            level=level,
            name=f'{self.get_fully_qualified_name()}: depth',
            message=text,
            hardware_id='',
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _health(self) -> tuple[bytes, str]:
        """Level and message of the diagnostics."""
        if self._refusal:
            return DiagnosticStatus.ERROR, f'{self.state}: {self._refusal}'
        if self._worker is None:
            return DiagnosticStatus.OK, self.state
        if self._worker.newest.lacks_info:
            topic = self.resolve_topic_name('camera_info')
            text = f'images arrive but no camera_info on {topic}'
            self.get_logger().warning(text, throttle_duration_sec=5.0)
            return DiagnosticStatus.WARN, text
        if problem := self._statistics.problem():
            return DiagnosticStatus.WARN, problem
        if not self._enabled:
            return DiagnosticStatus.OK, 'disabled'
        if not self._statistics.received:
            return DiagnosticStatus.WARN, f'no image has arrived on {self._image_topic()}'
        if warnings := self._worker.monitor.findings.warnings:
            self.get_logger().warning('; '.join(warnings), throttle_duration_sec=30.0)
            return DiagnosticStatus.WARN, '; '.join(warnings)
        return DiagnosticStatus.OK, 'running'
