# A fresh machine needs Python 3.10+ and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin

MINUTES ?= 10

.PHONY: install lock vulnerabilities sbom demo test browser faults otelcol lint types imports check chaos soak outage overload large fuzz clean bench-flags bench-app bench-reads bench-pages bench bench-neighbour clock bench-sealed bench-linear compiled bench-stages

install: .venv/installed

.venv/installed: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit("otel_obs needs Python 3.10 or newer" if sys.version_info < (3, 10) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# What `make install` installs, for every Python and system, with hashes: to be run when dependencies change.  Versions
# stay as they are while they fit; `make lock UPGRADE=--upgrade` takes the newest.
lock:
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.10 --generate-hashes --no-emit-index-url \
	    --no-header --quiet $(UPGRADE) --output-file requirements.lock

vulnerabilities: install
	$(BIN)/python .ci/known_vulnerabilities.py

# What is in it, for whoever has to know: CycloneDX, from the lock.
sbom: install
	mkdir -p build
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --mc-type library --output-reproducible --of JSON \
	    -o build/sbom.cdx.json requirements.lock

demo: install
	$(BIN)/otel-obs demo

# A process for each core, each with a PostgreSQL of its own; the tests of one file stay together.
test: install
	$(BIN)/python -m pytest -n auto --dist loadfile

# The package as a wheel has it, its hot path compiled, in an environment of its own that borrows the packages of .venv, and
# what is tested of it there: the tests are found behind the installed package, and run where no source lies beside them.
COMPILED := build/compiled
COMPILED_PYTHON := $(COMPILED)/env/bin/python
COMPILED_TESTS := unit/dialects unit/otlp unit/pipeline unit/pricing unit/rows unit/receiver unit/processor \
    unit/instrumentation unit/test_tenancy.py unit/test_remembering.py unit/test_compiling.py contract acceptance/test_corpus.py acceptance/test_traps.py integration/test_bad_input.py

compiled: $(COMPILED_PYTHON)
	$(COMPILED_PYTHON) -I -m otel_obs --version | grep compiled
	cd $(COMPILED) && $(CURDIR)/$(BIN)/python -I -m tests.chaos.alike 1000 >source.txt
	cd $(COMPILED) && env/bin/python -I -m tests.chaos.alike 1000 >compiled.txt
	cmp $(COMPILED)/source.txt $(COMPILED)/compiled.txt
	cd $(COMPILED) && env/bin/python -I -m pytest --rootdir $(CURDIR) -c $(CURDIR)/pyproject.toml -o pythonpath= \
	    -p no:cacheprovider -n auto --dist loadfile $(addprefix $(CURDIR)/tests/,$(COMPILED_TESTS))

$(COMPILED_PYTHON): .venv/installed hatch_build.py $(shell find otel_obs -name '*.py')
	rm -rf $(COMPILED)
	OTEL_OBS_COMPILE=1 $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
	    --wheel-dir $(COMPILED) .
	$(BIN)/python -m venv --without-pip $(COMPILED)/env
	$(BIN)/python -m pip --python $(COMPILED_PYTHON) install --quiet --disable-pip-version-check --no-deps $(COMPILED)/*.whl
	site() { $$1 -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }; \
	    printf '%s\n' "$$(site $(BIN)/python)" $(CURDIR) > "$$(site $(COMPILED_PYTHON))/development.pth"
	touch $@

# Debian's Chromium for the tests of the dashboard; without it, and without the right to install it, they are skipped.
browser:
	test -x /usr/bin/chromium || test "$$(id -u)" -ne 0 || \
	    (apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium)

# Debian's libfaketime, for the tests of hosts with another time; without it, and without that right, they are skipped.
clock:
	ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || test "$$(id -u)" -ne 0 || \
	    (apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends faketime)

# Debian's libfiu, for the scenario of `make chaos` in which fsync fails; the same holds for it.
faults:
	test -x /usr/bin/fiu-ctrl || test "$$(id -u)" -ne 0 || \
	    (apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends fiu-utils)

# The Collector of collector/, with Go 1.26 or newer from the official modules; for the tests a foreign sender and a broker.
# builder/go.sum pins every module that goes into it.  Go caches downloads and compiled packages in places of its own.
OTELCOL := build/otelcol
OTELCOL_RELEASE := 0.155.0
TELEMETRYGEN_RELEASE := 0.161.0
GO_AT_EASE := GOMAXPROCS=$${GOMAXPROCS:-2} GOFLAGS="$$(go env GOFLAGS) -trimpath" nice

otelcol: $(OTELCOL)/otelcol $(OTELCOL)/telemetrygen $(OTELCOL)/kafka

$(OTELCOL)/otelcol: collector/builder/manifest.yaml collector/builder/go.sum
	mkdir -p $(OTELCOL)/src
	cp collector/builder/go.sum $(OTELCOL)/src/go.sum
	GOBIN=$(CURDIR)/$(OTELCOL) $(GO_AT_EASE) go install go.opentelemetry.io/collector/cmd/builder@v$(OTELCOL_RELEASE)
	cd collector/builder && $(GO_AT_EASE) $(CURDIR)/$(OTELCOL)/builder --config manifest.yaml --skip-compilation
	diff collector/builder/go.sum $(OTELCOL)/src/go.sum
	cd $(OTELCOL)/src && $(GO_AT_EASE) go build -ldflags='-s -w' -o ../otelcol .

$(OTELCOL)/telemetrygen:
	GOBIN=$(CURDIR)/$(OTELCOL) $(GO_AT_EASE) go install \
	    github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen@v$(TELEMETRYGEN_RELEASE)

$(OTELCOL)/kafka: tests/kafka/main.go tests/kafka/go.mod tests/kafka/go.sum
	cd tests/kafka && $(GO_AT_EASE) go build -o $(CURDIR)/$@ .

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

check: lint types imports test

# Servers and gateways killed, frozen and starved under load: some minutes, own processes only.
chaos: install faults
	$(BIN)/python -m pytest -m chaos tests/chaos -s

# A steady load with a fault every minute, and a balance by id: make soak MINUTES=10
soak: install
	$(BIN)/python -m tests.chaos.soak $(MINUTES)

# PostgreSQL away for as long, more than the machine can take, prompts of 200 KB: make outage MINUTES=10
outage overload large: install
	$(BIN)/python -m tests.chaos.loads $@ $(MINUTES)

# Damaged requests into both decoders: make fuzz MINUTES=1; guided by coverage where atheris has a wheel.
fuzz: install
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: 'atheris>=2.3'
	$(BIN)/python -m tests.chaos.fuzz $(MINUTES)

# Our gateway, PostgreSQL's limit, MLflow and Phoenix side by side: takes about 25 minutes, and installs into build/ first.
bench: install
	$(BIN)/python -m benchmarks.gateway --peers --write

# Does a span cost more with ten million rows in the tables, or in other requests? Takes about 15 minutes, and 15 GB.
bench-linear: install
	$(BIN)/python -m benchmarks.linear --write

# Decoding, making rows and settling, as source and compiled: where does the time go that a span takes here?
bench-stages: install $(COMPILED_PYTHON)
	$(BIN)/python -m benchmarks.stages --against $(COMPILED_PYTHON)

bench-flags: install
	$(BIN)/python -m benchmarks.flags

# What telemetry costs the application: takes about 10 minutes.
bench-app: install $(COMPILED_PYTHON)
	$(COMPILED_PYTHON) benchmarks/in_process.py

bench-reads: install
	$(BIN)/python -m benchmarks.reads $(CALLS) --write

# How long a page takes in a browser, and the waterfall to answer a key.
bench-pages: install browser
	$(BIN)/python -m benchmarks.pages --write

# One tenant sends ten times what it may: what does another notice?
bench-neighbour: install
	$(BIN)/python -m benchmarks.neighbour --write

# The same gateway with OTEL_OBS_ENCRYPTION_KEYS and without.
bench-sealed: install
	$(BIN)/python -m benchmarks.sealed --write

clean:
	rm -rf .venv build dist *.egg-info
