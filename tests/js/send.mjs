// Sends one span by each exporter of the SDK, and says as JSON what became of it and which span it was.
//
//   node send.mjs HTTP_URL GRPC_URL AUTHORIZATION

import { Metadata } from "@grpc/grpc-js";
import { OTLPTraceExporter as GrpcExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { OTLPTraceExporter as JsonExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as ProtobufExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { TracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace";

const [http, grpc, authorization] = process.argv.slice(2);
const metadata = new Metadata();
metadata.set("authorization", authorization);
const headers = { authorization };
const exporters = {
  json: new JsonExporter({ url: `${http}/v1/traces`, headers, compression: "gzip" }),
  protobuf: new ProtobufExporter({ url: `${http}/v1/traces`, headers, compression: "gzip" }),
  grpc: new GrpcExporter({ url: grpc, metadata, compression: "gzip" }),
};

const told = {};
for (const [name, exporter] of Object.entries(exporters)) {
  const kept = new InMemorySpanExporter();
  const provider = new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter: kept })] });
  const span = provider.getTracer("js").startSpan(`chat ${name}`, {
    attributes: {
      "gen_ai.operation.name": "chat",
      "gen_ai.provider.name": "openai",
      "gen_ai.request.model": "gpt-4o-mini",
      "gen_ai.usage.input_tokens": 1000,
      "gen_ai.usage.output_tokens": 10,
    },
  });
  span.end();
  await provider.forceFlush();
  const finished = kept.getFinishedSpans();
  if (finished.length !== 1) throw new Error(`${finished.length} spans to send`);
  const result = await new Promise((resolve) => exporter.export(finished, resolve));
  told[name] = { code: result.code, error: result.error?.message, span_id: span.spanContext().spanId };
  await exporter.shutdown();
}
console.log(JSON.stringify(told));
