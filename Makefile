# `make demo` and `make test` do all set-up on a fresh machine: Python 3.11 or 3.12 with venv.
PYTHON ?= python3
VENV ?= .venv
# A build of torch that is known to work; any other one of 2.6 or later will do.
TORCH ?= torch==2.13.0
REAL ?= ../shared/data/dgp_sample/scene_dataset_v1.0.json
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# What tests and checks take beside it: linters, a browser and TensorRT's bindings.
TOOLS := $(VENV)/.tools

.PHONY: demo test check format models clean

demo: $(READY)
	$(BIN)/demo --output demo --real $(REAL)

# Two files of tests at a time, each with a core to itself. Names of tests may hold sets, whose
# order the hash seed decides: both workers must find the same tests.
test: $(TOOLS)
	OMP_NUM_THREADS=1 PYTHONHASHSEED=0 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(TOOLS)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The shipped models, from nothing.
MODEL := mono_metric_depth/models/default.onnx
NANO := mono_metric_depth/models/nano.onnx
ROBOT := world:suburb:1000-1011x40@1.5
models: $(READY)
	$(BIN)/train --config supervised --folder training/supervised/default
	$(BIN)/train --config randomised --start training/supervised/default/supervised.onnx --folder training/default --output $(MODEL)
	cp training/default/training.png docs/training.png
	$(BIN)/fit_scale $(MODEL) --target $(ROBOT) --every 4 --write
	$(BIN)/fit_scale $(MODEL) world:town:1000-1005x40 --target $(ROBOT) --every 4 --figure docs/scale.png
	$(BIN)/train --config supervised --network nano --folder training/supervised/nano
	$(BIN)/train --config randomised --network nano --start training/supervised/nano/nano.onnx --folder training/nano --output $(NANO)
	cp training/nano/training.png docs/training_nano.png
	$(BIN)/fit_scale $(NANO) --target $(ROBOT) --every 4 --write

$(READY): setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || \
	  { echo 'ROS 2 from PyPI needs Python 3.11 or 3.12: make PYTHON=python3.12 ...' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip 'setuptools<80'
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable '.[ros,train,demo]'
	touch $@

# Last, bindings of TensorRT without its libraries, 1 MB each: tests read names and signatures there.
$(TOOLS): $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[ros,train,demo,dev]'
	-for version in cu12-bindings==10.3.0 cu13-bindings==10.16.1.11 cu13-bindings==11.4.0.106; do \
	  $(BIN)/python -m pip install --quiet --no-deps --upgrade \
	    --target $(VENV)/tensorrt/$${version#*==} tensorrt-$$version; done
	touch $@

clean:
	rm -rf $(VENV) build install log demo *.egg-info
