# Two images of one distribution: `operator` (no torch, no S3, no plotting) and `trainer` (runs trials and builds reports).
#
#     docker build --target operator --tag graphsearch-operator:0.1.0 .
#     docker build --target trainer  --tag graphsearch-trainer:0.1.0 .
#
# The base needs python3 3.11 or newer with pip and venv, nothing else; pin yours by digest. Packages are a layer of
# their own below the source, so that a change of the source downloads nothing.
ARG BASE_IMAGE=python:3.11.14-slim-bookworm

FROM ${BASE_IMAGE} AS base
RUN useradd --uid 65532 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin graphsearch
ENV PATH=/opt/graphsearch/bin:$PATH

# What each image needs, out of pyproject.toml: packages are installed anew only when a list or a version changes.
FROM base AS lists
COPY pyproject.toml /src/
ENV LIST='import sys, tomllib; \
project = tomllib.load(open("/src/pyproject.toml", "rb"))["project"]; \
extras = [project["optional-dependencies"][extra] for extra in sys.argv[1:]]; \
print(*sum(extras, project["dependencies"]), sep="\n")'
RUN python3 -c "$LIST" operator > /operator.txt \
 && python3 -c "$LIST" trainer report onnx > /trainer.txt

FROM base AS package
COPY constraints.txt /src/
RUN python3 -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --constraint /src/constraints.txt hatchling
COPY pyproject.toml README.md LICENSE /src/
COPY trainer /src/trainer
COPY operator /src/operator
RUN python3 -m venv --without-pip /opt/graphsearch \
 && /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels /src \
 && /opt/build/bin/pip --python /opt/graphsearch/bin/python install --no-deps /wheels/*.whl

FROM base AS operator
LABEL org.opencontainers.image.title="graphsearch operator" \
      org.opencontainers.image.description="Runs searches for the best way for several neural networks to teach one another" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
COPY --from=lists /operator.txt /opt/graphsearch/
COPY constraints.txt /opt/graphsearch/
RUN python3 -m venv /opt/graphsearch \
 && /opt/graphsearch/bin/pip install --no-cache-dir \
    --constraint /opt/graphsearch/constraints.txt --requirement /opt/graphsearch/operator.txt \
 && /opt/graphsearch/bin/pip uninstall --yes pip setuptools
COPY --from=package /opt/graphsearch /opt/graphsearch
# The root is read-only: bytecode comes with the packages, and logs are not held back.
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["/opt/graphsearch/bin/graphsearch"]
CMD ["operator"]

FROM base AS trainer
LABEL org.opencontainers.image.title="graphsearch trainer" \
      org.opencontainers.image.description="Trains one knowledge transfer graph, and builds the report of a search" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
COPY --from=lists /trainer.txt /opt/graphsearch/
COPY constraints.txt /opt/graphsearch/
RUN python3 -m venv /opt/graphsearch \
 && /opt/graphsearch/bin/pip install --no-cache-dir \
    --constraint /opt/graphsearch/constraints.txt --requirement /opt/graphsearch/trainer.txt \
 && /opt/graphsearch/bin/pip uninstall --yes pip
COPY --from=package /opt/graphsearch /opt/graphsearch
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["/opt/graphsearch/bin/python", "-m", "graphtrial"]
