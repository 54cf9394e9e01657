// An in-memory SCIM 2.0 server on SCIMMY, with faults to switch on and a door for another hand.
//
// It is given to node on standard input, with the folder of its packages as working directory.
// Environment: PORT, TOKEN, and the knobs below in upper case (FAIL_EVERY, RETRY_AFTER,
// LATENCY_MS, MAXRESULTS).
//
// /admin, without a token, for the tests only:
//   GET    /admin/requests      every SCIM request so far: [{ n, at, method, path, query, body, status }], `at` in ms since 1970
//   DELETE /admin/requests      forgets them
//   PATCH  /admin/knobs         { failEvery, retryAfter, latencyMs, token } from the next request on
//   POST   /admin/faults        { method?, path?, body?, status, times?, after?, drop?, hold? }: the next
//                               `times` matching requests fail; `path` and `body` are regular
//                               expressions; `after` does the work first; `drop` cuts the connection
//                               instead; `hold` gives no answer for as long as the fault lasts
//   DELETE /admin/faults        ends them all: what was held is done now, whether or not somebody still waits for it
//   GET    /admin/users         rows as they are stored
//   PATCH  /admin/users/:id     changes a row behind SCIM's back; null removes a key
//   POST   /admin/users         { count, prefix, ... }: so many rows at once
//   DELETE /admin/users/:id
//   POST   /admin/forget        { every }: each so many-th row is gone, until
//   POST   /admin/remember      puts them back as they were
import express from "express";
import SCIMMY from "scimmy";
import Routers from "scimmy-routers";
import { randomUUID } from "node:crypto";

const env = process.env;
const knobs = {
  token: env.TOKEN ?? "s3cret",
  failEvery: Number(env.FAIL_EVERY ?? 0),
  retryAfter: env.RETRY_AFTER ?? "1",
  latencyMs: Number(env.LATENCY_MS ?? 0),
};
const maxResults = Number(env.MAXRESULTS ?? 200);
const requests = [];
const faults = [];
const held = [];
let count = 0;

const scimError = (status, detail, type) => new SCIMMY.Types.Error(status, type ?? null, detail);
const errorBody = (status, detail) => ({ schemas: ["urn:ietf:params:scim:api:messages:2.0:Error"], status: String(status), detail });

// Rows of one resource type. `unique` is compared without regard to case (RFC 7643 section 4.1.1).
class Rows extends Map {
  constructor(unique) {
    super();
    this.unique = unique;
  }

  read({ id, filter }) {
    if (id) return this.row(id);
    const all = [...this.values()];
    return filter ? filter.match(all) : all;
  }

  row(id) {
    const row = this.get(id);
    if (!row) throw scimError(404, `${id} not found`);
    return row;
  }

  write(id, data) {
    const former = id ? this.row(id) : undefined;
    id ??= randomUUID();
    const folded = (row) => String(row[this.unique]).toLowerCase();
    for (const other of this.values()) {
      if (other.id !== id && folded(other) === folded(data)) throw scimError(409, `${this.unique} is taken`, "uniqueness");
    }
    const now = new Date().toISOString();
    const meta = { created: former?.meta.created ?? now, lastModified: now, version: `W/"${randomUUID()}"` };
    const row = { ...structuredClone(JSON.parse(JSON.stringify(data))), id, meta };
    this.set(id, row);
    return row;
  }

  remove(id) {
    if (!this.delete(id)) throw scimError(404, `${id} not found`);
  }
}

const users = new Rows("userName");
const groups = new Rows("displayName");
const handlers = (rows) => ({
  egress: (request) => rows.read(request),
  ingress: (request, data) => rows.write(request.id, data),
  degress: (request) => rows.remove(request.id),
});

SCIMMY.Config.set({
  patch: true, bulk: { supported: true, maxOperations: 100 }, filter: { supported: true, maxResults },
  sort: true, etag: false, changePassword: false,
});
SCIMMY.Resources.declare(SCIMMY.Resources.User.extend(SCIMMY.Schemas.EnterpriseUser, false), handlers(users));
SCIMMY.Resources.declare(SCIMMY.Resources.Group, handlers(groups));

const app = express();

const admin = express.Router();
admin.use(express.json({ limit: "50mb" }));
admin.get("/requests", (_, answer) => answer.json(requests));
admin.delete("/requests", (_, answer) => { requests.length = 0; answer.sendStatus(204); });
admin.patch("/knobs", (request, answer) => answer.json(Object.assign(knobs, request.body)));
admin.post("/faults", (request, answer) => { faults.push({ times: 1, ...request.body }); answer.sendStatus(204); });
admin.delete("/faults", (_, answer) => {
  faults.length = 0;
  held.splice(0).forEach((next) => next());
  answer.sendStatus(204);
});
admin.get("/users", (_, answer) => answer.json([...users.values()]));
admin.post("/users", (request, answer) => {
  const { count = 1, prefix = "u", ...rest } = request.body;
  const made = Array.from({ length: count }, (_, n) => users.write(undefined, {
    schemas: ["urn:ietf:params:scim:schemas:core:2.0:User"], userName: `${prefix}-${n}`, active: true, ...structuredClone(rest),
  }));
  answer.status(201).json(made);
});
admin.patch("/users/:id", (request, answer) => {
  const row = users.get(request.params.id);
  if (!row) return answer.sendStatus(404);
  for (const [key, value] of Object.entries(request.body)) {
    if (value === null) delete row[key]; else row[key] = value;
  }
  answer.json(row);
});
admin.delete("/users/:id", (request, answer) => answer.sendStatus(users.delete(request.params.id) ? 204 : 404));
const forgotten = new Map();
admin.post("/forget", (request, answer) => {
  [...users.values()].filter((_, n) => n % request.body.every === 0).forEach((row) => {
    forgotten.set(row.id, row);
    users.delete(row.id);
  });
  answer.json([...forgotten.values()]);
});
admin.post("/remember", (_, answer) => {
  forgotten.forEach((row, id) => users.set(id, row));
  forgotten.clear();
  answer.sendStatus(204);
});
app.use("/admin", admin);

// The first fault that fits, used up by one.
function fault(request) {
  const fits = ({ method, path, body }) => (!method || method === request.method)
    && (!path || new RegExp(path).test(request.originalUrl)) && (!body || new RegExp(body).test(JSON.stringify(request.body)));
  const found = faults.find(fits);
  if (found && --found.times <= 0) faults.splice(faults.indexOf(found), 1);
  return found;
}

const scim = express.Router();
scim.use(express.json({ type: ["application/scim+json", "application/json"], limit: "50mb" }));
scim.use((request, answer, next) => {
  const noted = { n: ++count, at: Date.now(), method: request.method, path: request.path, query: request.query, body: request.body, status: null };
  requests.push(noted);
  answer.on("finish", () => { noted.status = answer.statusCode; });
  const fail = fault(request);
  const give = (status, detail) => {
    if (status === 429) answer.set("Retry-After", knobs.retryAfter);
    answer.status(status).type("application/scim+json").send(JSON.stringify(errorBody(status, detail)));
  };
  if (fail?.hold) return held.push(next);
  if (fail && !fail.after) return fail.drop ? request.socket.destroy() : give(fail.status, "a fault was asked for");
  if (knobs.failEvery && count % knobs.failEvery === 0) return give(429, "slow down");
  if (fail) {
    // The work is done and the answer lost.
    const end = answer.end.bind(answer);
    answer.end = () => {
      if (fail.drop) return request.socket.destroy();
      const body = JSON.stringify(errorBody(fail.status, "done, but not told"));
      answer.statusCode = fail.status;
      answer.setHeader("Content-Length", Buffer.byteLength(body));
      return end(body);
    };
  }
  setTimeout(next, knobs.latencyMs);
});
scim.use(new Routers({
  type: "bearer",
  handler: (request) => {
    if (request.header("Authorization") !== `Bearer ${knobs.token}`) throw new Error("bad or missing token");
    return "svc";
  },
}));
app.use("/scim/v2", scim);

app.listen(Number(env.PORT ?? 0), "127.0.0.1", function () {
  console.log(`listening on ${this.address().port}`);
});

// Whoever started this server may be killed without a word.
const parent = process.ppid;
setInterval(() => { if (process.ppid !== parent) process.exit(0); }, 500).unref();
