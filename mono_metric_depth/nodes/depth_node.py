# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The depth node: camera images in, metric depth and point clouds out."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.task import Future
from std_srvs.srv import SetBool

from mono_metric_depth.nodes.camera_stream import CameraStream
from mono_metric_depth.nodes.depth_diagnostics import depth_statuses, scale_doubts
from mono_metric_depth.nodes.frame_worker import FrameWorker
from mono_metric_depth.nodes.model_loading import LoadedModel, ModelLoading
from mono_metric_depth.nodes.mount_lookup import MountLookup
from mono_metric_depth.nodes.parameter_table import warn_of_unused_overrides
from mono_metric_depth.nodes.parameters import (
    NodeParameters,
    changed_parameters,
    declare_parameters,
)
from mono_metric_depth.printable import printable

#: Time between two messages of diagnostics (s).
DIAGNOSTICS_PERIOD = 1.0
#: How long the frames in work may take to finish (s): when deactivated, and when the node ends.
_PATIENCE = 30.0
_LAST_PATIENCE = 1.0
#: How long a model may be loaded on when the node ends (s); building an engine takes longer.
_LOADING_PATIENCE = 1.0
#: How long to wait at a time (s): a signal is seen in between.
_TURN = 0.1
_SUCCESS = TransitionCallbackReturn.SUCCESS


class DepthNode(LifecycleNode):
    """Subscribes to ``image`` and ``camera_info``; publishes depth while anyone listens.

    With several cameras, each has these topics below its name. Configured, the node has its engine
    and its output topics; active, its inputs as well. The newest image of a camera wins: one that
    arrives while others are being worked on replaces any that waits. The executor's thread only
    receives; threads of their own load the model and do the work (:class:`FrameWorker`).

    Attributes:
        refused: Done, with the reason, where the node was to start by itself and could not.

    Raises:
        ValueError, ParameterException: If a parameter is not among its allowed values.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__('depth_node', **options)
        self.refused = Future()
        self._values = declare_parameters(self)
        self._streams = [
            CameraStream(self, name, self._values.of(name))
            for name in self._values.common.cameras or ('',)
        ]
        self._loading: ModelLoading | None = None
        self._model: LoadedModel | None = None
        self._mounts: MountLookup | None = None
        self._worker: FrameWorker | None = None
        self._refusal = ''
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.create_service(SetBool, '~/set_enabled', self._on_set_enabled)
        # While a model is loaded the lifecycle waits, and nothing else does.
        lifecycle = MutuallyExclusiveCallbackGroup()
        for service in self.services:
            if service.srv_type is ChangeState:
                service.callback = self._load_first(service.callback)
                service.callback_group = lifecycle
                lifecycle.add_entity(service)
        # Simulated time may stand still; that is when a person looks at the diagnostics.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=steady)
        self._starter: Any = None
        if self._values.common.autostart:
            self._starter = self.create_timer(
                0.0, self._start, clock=steady, callback_group=lifecycle
            )

    @property
    def state(self) -> str:
        """Label of the lifecycle's state, such as ``inactive``."""
        return str(self._state_machine.current_state[1])

    def destroy_node(self) -> None:
        """Let the frames in work finish, then end the node; if they do not, its topics stay."""
        ended = self._stop(_LAST_PATIENCE, lambda: True)
        if self._loading is not None:
            self._loading.wait(_LOADING_PATIENCE)
        if not ended:  # a frame in work goes on to use what would be destroyed
            return
        super().destroy_node()
        # It holds on to the node, whose log would stay on /rosout.
        self._state_machine.destroy_when_not_in_use()

    # Lifecycle. Transitions run in the executor's thread, one after the other; what takes long,
    # loading the model, has been done by then wherever the executor is who asks.

    async def _start(self) -> None:
        self._starter.cancel()
        if self.state == 'unconfigured':  # else somebody was faster
            await self._load()
            if not (self.trigger_configure() == _SUCCESS and self.trigger_activate() == _SUCCESS):
                self.refused.set_result(self._refusal)
        self._starter = None

    async def _load(self) -> None:
        # What is raised here would end the process: configuring tries again, and says why not.
        with contextlib.suppress(Exception):
            self._loading = self._load_model()
            await self._loading

    def _load_model(self) -> ModelLoading:
        log = self.get_logger()
        return ModelLoading(
            self._values.common,
            lambda text: log.info(printable(text)),
            lambda text: log.warning(printable(text)),
            self._require_ros,
        )

    def _load_first(self, change_state: Any) -> Any:
        """What answers change_state; rclpy's own lets a transition that is not possible raise."""

        async def answer(request: Any, response: Any) -> Any:
            wanted = request.transition
            configure = wanted.label == 'configure' or (
                not wanted.label and wanted.id == Transition.TRANSITION_CONFIGURE
            )
            if configure and self.state == 'unconfigured':
                await self._load()
            try:
                return change_state(request, response)
            except RuntimeError as err:
                self.get_logger().error(f'no such transition from {self.state}: {err}')
                response.success = False
                return response

        return answer

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Take the engine, loaded and warm; create the output topics."""
        try:
            self._model = (self._loading or self._load_model()).result()
            for stream in self._streams:
                stream.configure()
            self._mounts = MountLookup(self, self._values.common.base_frame)
        except Exception as err:
            self._free()
            return self._refuse('configure', err)
        finally:
            self._loading = None
        self._refusal = ''
        card, engine = self._model.estimator.card, self._model.estimator.engine
        scale = card.scale
        assert scale is not None  # the estimator asks for one
        self.get_logger().info(
            f'model {card.name} ({self._model.path}), scale {scale.value:.4g} '
            f'[{scale.low:.4g}, {scale.high:.4g}], engine '
            f'{engine.name} on {engine.provider}'
        )
        if card.doubts:
            self.get_logger().warning(
                f'the scale of {card.name} is doubtful: {scale_doubts(card)}'
            )
        return _SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the inputs and start to work."""
        assert self._model is not None
        assert self._mounts is not None
        estimator, changed = self._model.estimator, threading.Condition()
        try:
            for stream in self._streams:
                stream.activate(estimator.card, changed)
        except Exception as err:
            self._stop(_PATIENCE)
            return self._refuse('activate', err)
        warn_of_unused_overrides(self)
        self._worker = FrameWorker(self, estimator, self._streams, self._mounts, changed)
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

    def _stop(self, patience: float, waits: Callable[[], bool] | None = None) -> bool:
        """Receive nothing more and let the frames in work finish; says whether they have.

        Args:
            patience: How long to wait for them (s).
            waits: Asked now and then whether to wait on; until a signal ends ROS if left out.
        """
        for stream in self._streams:
            stream.deactivate()
        waits, deadline = waits or self.context.ok, time.monotonic() + patience
        while self._worker is not None:
            left = deadline - time.monotonic()
            if self._worker.stop(max(0.0, min(left, _TURN))):
                self._worker = None
            elif left <= 0 or not waits():
                return False
        return True

    def _free(self) -> None:
        for stream in self._streams:
            stream.cleanup()
        if self._mounts is not None:
            self._mounts.destroy()
        if self._model is not None:
            self._model.estimator.engine.close()
        self._model = self._mounts = None

    def _refuse(self, transition: str, reason: object) -> TransitionCallbackReturn:
        """Say why a transition fails; it may be tried again, except after the unforeseen."""
        # Errors of models are RuntimeError or ValueError, those of rcl RuntimeError.
        foreseen = isinstance(reason, (str, ParameterException, RuntimeError, ValueError))
        text = printable(' '.join(str(reason).split()))
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
        for stream in self._streams:
            stream.values = self._values.of(stream.name)

    def _changed(self, parameters: Sequence[Parameter]) -> NodeParameters:
        return changed_parameters(
            self._values,
            {found.name: found.value for found in parameters},
            unconfigured=self.state == 'unconfigured' and self._loading is None,
        )

    def _on_set_enabled(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        for stream in self._streams:
            stream.enabled = request.data
            if not request.data:
                stream.discard('disabled')
        response.success = True
        response.message = 'enabled' if request.data else 'disabled'
        return response

    # Diagnostics.

    def _publish_diagnostics(self) -> None:
        statuses = depth_statuses(
            self.get_fully_qualified_name(),
            self._streams,
            state=self.state,
            refusal=self._refusal,
            loading='' if self._loading is None else str(self._loading.path),
            working=self._worker is not None,
            model=self._model,
        )
        message = DiagnosticArray(status=statuses)
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)
