# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""One build description for ``colcon build`` and ``pip install .``."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'mono_metric_depth'

# What runs on PyPI's ROS 2 (Jazzy) has wheels for Python 3.11 and 3.12.
ROS = [
    'ros-rclpy[fastrtps]==7.1.6',
    'ros-jazzy-rclpy',
    'ros-jazzy-sensor-msgs',
    'ros-diagnostic-msgs==5.3.6',
    'ros-lifecycle-msgs==2.0.3',
    'ros-std-srvs==5.3.6',
]
# JetPack 6 (Python 3.10) has CUDA 12.6, whose driver cuda-bindings 13 cannot use.
_JETPACK_6 = 'python_version < "3.11" and platform_machine == "aarch64"'
TENSORRT = [
    f'cuda-bindings>=12.8,<13; {_JETPACK_6}',
    'cuda-bindings>=12.8; python_version >= "3.11" or platform_machine != "aarch64"',
    'onnx>=1.17',
]
# TensorRT for RTX: the bindings, and a package that holds the libraries (146 MB).
RTX = [
    f'{package}; python_version >= "3.11" and python_version < "3.14" and '
    'sys_platform == "linux" and platform_machine == "x86_64"'
    for package in (
        'tensorrt-rtx-cu13-bindings==1.7.1.116',
        'onnxruntime-ep-nv-tensorrt-rtx-cu13==0.5.0',
    )
]
TRAIN = ['torch>=2.6', 'onnx>=1.17', 'onnxscript>=0.5', 'tensorboard']
OPENVINO = ['openvino>=2024.4']
DEV = [
    *OPENVINO,
    # colcon builds ament_python packages with setup.py install, which newer ones lack.
    'setuptools<80',
    'colcon-common-extensions',
    'hypothesis',
    'import-linter',
    # Reads bags as Foxglove does.
    'mcap-ros2-support',
    'mypy',
    # Chromium, in which reports are looked at.
    'PySide6-WebEngine>=6.12; platform_machine == "x86_64"',
    'pytest',
    'pytest-xdist',
    'ruff',
    'scipy',
    'types-PyYAML',
    *TENSORRT,
    *RTX,
]

setup(
    name=PACKAGE,
    version='0.1.0',
    description='Metric depth from a single camera on ROS 2, by one stored global scale',
    license='Apache-2.0',
    author='The mono_metric_depth Authors',
    maintainer='The mono_metric_depth Authors',
    maintainer_email='maintainers@mono-metric-depth.invalid',
    python_requires='>=3.10',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['py.typed', 'models/*.onnx', 'parity_frames/*']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        (f'share/{PACKAGE}/launch', sorted(map(str, Path('launch').glob('*.launch.py')))),
        (f'share/{PACKAGE}/config', sorted(map(str, Path('config').glob('*')))),
    ],
    install_requires=[
        # Both unpack what bags compress.
        'backports.zstd; python_version < "3.14"',
        'lz4',
        'numpy>=1.26',
        'onnxruntime>=1.18',
        'opencv-python-headless>=4.8',
        'pyyaml',
        'rosbags>=0.11.6',
        'tqdm',
    ],
    extras_require={
        'ros': [
            f'{package}; python_version >= "3.11" and python_version < "3.13"' for package in ROS
        ],
        'train': TRAIN,
        'tensorrt': TENSORRT,
        'rtx': [*TENSORRT, *RTX],
        'demo': ['matplotlib'],
        'report': ['matplotlib'],
        # The faster engine on CPUs; ONNX Runtime without it.
        'openvino': OPENVINO,
        'dev': DEV,
    },
    zip_safe=True,
    entry_points={
        'console_scripts': [
            f'{name} = {PACKAGE}.commands.{name}:main'
            for name in (
                'depth_node',
                'build_engine',
                'drive',
                'drives',
                'model_card',
                'fit_scale',
                'evaluate',
                'import_model',
                'train',
                'finetune',
                'experiments',
                'replay',
                'evaluation_node',
                'demo',
            )
        ],
    },
)
