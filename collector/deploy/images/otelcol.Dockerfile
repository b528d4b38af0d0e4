# The Collector of collector/builder/manifest.yaml with the pipelines.  Build it from the root of the repository:
#
#   docker build -f collector/deploy/images/otelcol.Dockerfile -t otel-obs/otelcol:0.155.0 .

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY Makefile ./
COPY collector/builder collector/builder
ENV CGO_ENABLED=0
RUN make build/otelcol/otelcol && mkdir -m 0700 /queue

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /src/build/otelcol/otelcol /otelcol
COPY --from=build --chown=nonroot:nonroot /queue /var/lib/otelcol
COPY collector/pipelines /etc/otelcol
VOLUME /var/lib/otelcol
EXPOSE 4317 4318 8888 13133
ENTRYPOINT ["/otelcol"]
CMD ["--config", "/etc/otelcol/gateway.yaml"]
