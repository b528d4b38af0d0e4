# otel_obs itself: the gateway, migrations, maintenance.  Build it from the root of the repository:
#
#   docker build -f collector/deploy/images/otel-obs.Dockerfile -t otel-obs/otel-obs:latest .

FROM python:3.13-slim-bookworm
RUN useradd --uid 65532 --create-home --home-dir /data --shell /usr/sbin/nologin otel-obs
WORKDIR /src
COPY pyproject.toml README.md ./
COPY otel_obs otel_obs
COPY examples examples
RUN pip install --no-cache-dir '.[gateway,server,maintenance]' && rm -rf /src
WORKDIR /data
USER 65532
ENV OTEL_OBS_DATA_DIR=/data
VOLUME /data
ENTRYPOINT ["otel-obs"]
CMD ["gateway"]
