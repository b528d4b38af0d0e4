# otel_obs itself: the gateway, migrations, maintenance.  Build it from the root of the repository:
#
#   docker build -f collector/deploy/images/otel-obs.Dockerfile -t otel-obs/otel-obs:latest .

# With a C compiler, so that the hot path is compiled; the image that runs has none.
FROM python:3.13-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md hatch_build.py ./
COPY otel_obs otel_obs
COPY examples examples
RUN python -m venv /opt/otel-obs \
    && OTEL_OBS_COMPILE=1 /opt/otel-obs/bin/pip install --no-cache-dir '.[gateway,server,maintenance]'

FROM python:3.13-slim-bookworm
RUN useradd --uid 65532 --create-home --home-dir /data --shell /usr/sbin/nologin otel-obs
COPY --from=build /opt/otel-obs /opt/otel-obs
ENV PATH=/opt/otel-obs/bin:$PATH OTEL_OBS_DATA_DIR=/data
WORKDIR /data
USER 65532
VOLUME /data
ENTRYPOINT ["otel-obs"]
CMD ["gateway"]
