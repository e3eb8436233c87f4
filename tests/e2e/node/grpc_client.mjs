// A gRPC client: `node grpc_client.mjs TARGET DESCRIPTOR_SET`, token and documents as JSON on stdin; what it saw as JSON on stdout.
import { readFileSync } from "node:fs";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const [target, descriptors] = process.argv.slice(2);
const { token, graph, waiting } = JSON.parse(readFileSync(0, "utf8"));
const loaded = protoLoader.loadFileDescriptorSetFromBuffer(readFileSync(descriptors), { keepCase: true, enums: String, defaults: true });
const { treadle } = grpc.loadPackageDefinition(loaded);
// Keepalive as a client of long streams would set it.
const options = { "grpc.keepalive_time_ms": 10_000, "grpc.keepalive_timeout_ms": 5_000 };
const made = (Service) => new Service(target, grpc.credentials.createInsecure(), options);
const users = made(treadle.user.v1.UserService);
const graphs = made(treadle.graph.v1.GraphService);
const executions = made(treadle.execution.v1.ExecutionService);

function metadata() {
  const sent = new grpc.Metadata();
  sent.set("authorization", `Bearer ${token}`);
  sent.set("x-request-id", "from-node");
  return sent;
}

function unary(client, method, request, sent = metadata(), deadlineMs = 20_000) {
  return new Promise((resolve, reject) => {
    let answer;
    const call = client[method](request, sent, { deadline: Date.now() + deadlineMs }, (error, received) =>
      error ? reject(error) : (answer = received),
    );
    call.on("status", ({ code, metadata: trailers }) => code === 0 && resolve({ answer, trailers: trailers.getMap() }));
  });
}

async function refused(promise) {
  try {
    await promise;
    return { code: 0 };
  } catch (error) {
    const details = error.metadata?.get("grpc-status-details-bin")[0]?.toString("latin1") ?? "";
    return { code: error.code, message: error.details, reason: /[A-Z]+(?:_[A-Z]+)+/.exec(details)?.[0] ?? "" };
  }
}

/** Reads a stream to its end; `onEvent` may cancel it. */
function events(executionId, onEvent = () => {}) {
  return new Promise((resolve) => {
    const seen = [];
    const call = executions.WatchExecution({ execution_id: executionId }, metadata());
    call.on("data", ({ event }) => {
      seen.push(event);
      onEvent(call, event);
    });
    call.on("error", (error) => resolve({ seen, code: error.code }));
    call.on("end", () => resolve({ seen, code: 0 }));
  });
}

/** Read from descriptors, maps are lists of entries to this library; on the wire both are the same. */
const entries = (map) => Object.entries(map).map(([key, value]) => ({ key, value }));

async function started(document, inputs = {}) {
  const { answer } = await unary(graphs, "ImportGraph", { document: { json: JSON.stringify(document) } });
  const request = { graph_id: answer.graph.id, inputs: entries(inputs), request_id: crypto.randomUUID() };
  return (await unary(executions, "CreateExecution", request)).answer.execution;
}

const me = await unary(users, "GetMe", {});
const ran = await events((await started(graph, { Name: { json: '"Node"' } })).id);
const parked = await started(waiting);
const cancelled = await events(parked.id, (call) => call.cancel());
const stopped = await unary(executions, "CancelExecution", { execution_id: parked.id });
const finished = await unary(executions, "GetExecution", { execution_id: ran.seen[0].execution_id });

console.log(
  JSON.stringify({
    email: me.answer.user.email,
    request_id: me.trailers["x-request-id"],
    seqs: ran.seen.map((event) => event.seq),
    last_kind: ran.seen.at(-1).kind,
    stream_code: ran.code,
    outputs: finished.answer.execution.outputs.map(({ key, value }) => [key, JSON.parse(value.json)]),
    cancelled_code: cancelled.code,
    stopped_status: stopped.answer.execution.status,
    missing: await refused(unary(graphs, "GetGraph", { graph_id: "00000000-0000-7000-8000-000000000000" })),
    stranger: await refused(unary(users, "GetMe", {}, new grpc.Metadata())),
    invalid: await refused(unary(graphs, "GetGraph", { graph_id: "" })),
    late: await refused(unary(users, "GetMe", {}, metadata(), -1)),
  }),
);
for (const client of [users, graphs, executions]) client.close();
