// A page of another origin: gRPC-Web and REST from a browser. It asks /config for what to do, and posts what it saw to /result.
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

async function read(path) {
  return new Uint8Array(await (await fetch(path)).arrayBuffer());
}

async function refused(promise) {
  try {
    await promise;
    return "OK";
  } catch (error) {
    return Code[ConnectError.from(error).code];
  }
}

async function watched(executions, executionId, call) {
  const seqs = [];
  for await (const { event } of executions.watchExecution({ executionId }, call)) seqs.push(event.seq);
  return seqs;
}

/** Newline-delimited JSON as it arrives. */
async function streamed(url, headers) {
  const answer = await fetch(url, { headers });
  const text = await answer.text();
  return { kind: answer.headers.get("content-type"), seqs: text.trim().split("\n").map((line) => JSON.parse(line).seq) };
}

async function run() {
  const { edge, token, graph, waiting } = await (await fetch("/config")).json();
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, await read("/descriptors")));
  const transport = createGrpcWebTransport({ baseUrl: edge });
  const client = (name) => createClient(registry.getService(name), transport);
  const [users, graphs, executions] = ["user", "graph", "execution"].map((domain) =>
    client(`treadle.${domain}.v1.${domain[0].toUpperCase()}${domain.slice(1)}Service`),
  );
  const headers = { authorization: `Bearer ${token}` };
  const start = async (document, inputs) => {
    const made = await graphs.importGraph({ document: { json: JSON.stringify(document) } }, { headers });
    return (await executions.createExecution({ graphId: made.graph.id, inputs, requestId: crypto.randomUUID() }, { headers })).execution.id;
  };

  const me = await users.getMe({}, { headers });
  const id = await start(graph, { Name: { json: '"Browser"' } });
  const seqs = await watched(executions, id, { headers });
  const parked = await start(waiting, {});
  const leaving = new AbortController();
  setTimeout(() => leaving.abort(), 500);
  const rest = await fetch(`${edge}/v1/users/me`, { headers });
  const kept = await fetch(`${edge}/v1/users/me`, { headers: { ...headers, "if-none-match": rest.headers.get("etag") }, cache: "no-store" });

  return {
    email: me.user.email,
    seqs,
    same_over_rest: await streamed(`${edge}/v1/executions/${id}:watch`, headers),
    left: await refused(watched(executions, parked, { headers, signal: leaving.signal })),
    missing: await refused(graphs.getGraph({ graphId: "00000000-0000-7000-8000-000000000000" }, { headers })),
    stranger: await refused(users.getMe({})),
    late: await refused(users.getMe({}, { headers, timeoutMs: 1 })),
    rest: { email: (await rest.json()).email, has_request_id: rest.headers.has("x-request-id"), kept: kept.status },
  };
}

run()
  .catch((error) => ({ failed: String(error?.stack ?? error) }))
  .then((result) => fetch("/result", { method: "POST", body: JSON.stringify(result) }));
