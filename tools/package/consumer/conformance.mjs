// Runs the published suite under any runtime, on an embedded server that the runtime starts itself.
import { MemoryResultBackend, PostgresResultBackend } from "kojin-postgres";
import { describeResultBackend } from "kojin-postgres/conformance";
import { startEmbeddedPostgres } from "kojin-postgres/embedded";

// Few, since the specs have deadlines.
const atOnce = 4;
const specs = [];
const titles = [];
const runner = {
  describe(title, body) {
    titles.push(title);
    body();
    titles.pop();
  },
  it: (title, body) => specs.push({ title: [...titles, title].join(", "), body }),
};

const server = await startEmbeddedPostgres({ installedIn: process.argv[2] });
const first = await PostgresResultBackend.connect(server.url);
await first.migrate();
await first.close();

const storage = new MemoryResultBackend();
describeResultBackend("memory", async () => storage.view(), runner);
describeResultBackend(
  "Postgres",
  async () => {
    const backend = await PostgresResultBackend.connect(server.url);
    await backend.ready();
    return backend;
  },
  runner,
);

const failed = [];
const waiting = [...specs];
async function work() {
  for (let spec = waiting.shift(); spec !== undefined; spec = waiting.shift()) {
    const { title, body } = spec;
    await body().catch((error) => failed.push(`${title}: ${error.stack}`));
  }
}
await Promise.all(Array.from({ length: atOnce }, work));
await server.stop();
for (const failure of failed) console.error(failure);
console.log(`${specs.length - failed.length} of ${specs.length} passed`);
process.exitCode = failed.length === 0 ? 0 : 1;
