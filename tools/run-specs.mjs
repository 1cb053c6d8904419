// Runs the specs on another version of Postgres, or with another way to use the library:
//   node tools/run-specs.mjs [--postgres 14|15|16|17] [--variant pgbouncer|pool-of-one|deferred|nats] [Jest arguments]
// With both, specs of SQL that the variant does not affect run first, without it.
import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { parseArgs } from "node:util";

const root = join(import.meta.dirname, "..");
const majors = readdirSync(join(root, "spec", "postgres"));
const variants = ["pgbouncer", "pool-of-one", "deferred", "nats"];

const { values, positionals } = parseArgs({
  options: { postgres: { type: "string" }, variant: { type: "string" } },
  allowPositionals: true,
});
const env = { ...process.env };
// Specs that no version or variant affects: those without a database, the embedded server, those that use only public
// names, and the browser's part of a page.
const left = [
  "spec/(embedded|cli|clients|dashboard|http|operators|queues|telemetry|examples|schemas|codec|types|docs/|testing|soak|bench)",
  "spec/(value|memory-backend|nats|relay|properties/(batcher|router|values))",
  "examples/",
];
// Specs of SQL, which the way to the server does not affect.
const aboutSql = ["spec/(security|environments)/", "spec/schema/(encodings|online-migration)", "spec/properties/ids"];

// Specs that make no sense without LISTEN. Notifications over NATS have fault specs of their own, which always run.
const aboutListen = [
  // Specs of the listening connection: losing, probing, replacing and sharing it, poolers, standbys, and its display on
  // a page.
  "spec/(logger|notifications/listener|waiting/wait)\\.spec",
  "spec/notifications/pg-listen",
  "spec/groups/group-(changes|streams)",
  "spec/faults/(dashboard|failover|herds|idle-killers|killed-listener|last-words|outages|poolers|refused-listener)",
  // Specs of Postgres's own notifications: sent for other writers, rolled back, refused, or sent in a caller's
  // transaction.
  "spec/(foreign-writers|results/store|streams)\\.spec",
  "spec/attach/",
  "spec/groups/group-counting",
  "spec/faults/(bulk-writes|bypassed-triggers|full-queue|held-lock|repairs|replication|subtransactions|unannounced|unlistened)",
  // Specs of what `diagnose` reports about those.
  "spec/faults/diagnosis",
  "spec/admin/(access|diagnosis|inspection|rights)",
];

// Specs of statements that the server refuses, cancels or answers slowly, whichever way their notifications go. With
// deferred announcements they run, since there a refused store has a notification of its own.
const aboutRefusals = ["spec/faults/(cancelled-statements|large-results|refused-rows|slow-rows)"];

if (values.postgres !== undefined) {
  if (!majors.includes(values.postgres)) fail(`expected --postgres to be one of ${majors.join(", ")}`);
  const folder = join(root, "spec", "postgres", values.postgres);
  // Not `npm ci`: the lock file cannot name programs for platforms that this version was never published for.
  execFileSync("npm", ["install", "--no-save", "--no-audit", "--no-fund"], {
    cwd: folder,
    stdio: ["ignore", "ignore", "inherit"],
    shell: process.platform === "win32",
  });
  Object.assign(env, { SPEC_POSTGRES_FROM: folder, SPEC_POSTGRES_MAJOR: values.postgres });
  // It would name another server than the one asked for.
  delete env.DATABASE_URL;
}
if (values.variant !== undefined) {
  if (!variants.includes(values.variant)) fail(`expected --variant to be one of ${variants.join(", ")}`);
  if (values.variant === "pgbouncer" && spawnSync("pgbouncer", ["--version"]).error !== undefined) {
    console.log("Skipped: PgBouncer is not installed (Debian: apt-get install pgbouncer).");
    process.exit(0);
  }
  const isOverNats = values.variant === "nats";
  if (isOverNats && spawnSync("nats-server", ["--version"]).error !== undefined) {
    console.log("Skipped: nats-server is not installed (Debian: apt-get install nats-server).");
    process.exit(0);
  }
  env.SPEC_VARIANT = values.variant;
  if (isOverNats) left.push(...aboutListen, ...aboutRefusals);
}

const jest = createRequire(import.meta.url).resolve("jest/bin/jest");
if (["pgbouncer", "pool-of-one"].includes(values.variant)) {
  if (values.postgres !== undefined) runJest(left, aboutSql, { ...env, SPEC_VARIANT: "plain" });
  // Fault specs start their own servers and poolers, so only variants that change announcements affect them.
  left.push("spec/faults/", ...aboutSql);
}
runJest(left, positionals, env);

function runJest(ignored, patterns, environment) {
  const { status } = spawnSync(process.execPath, [jest, "--testPathIgnorePatterns", ...ignored, "--", ...patterns], {
    cwd: root,
    env: environment,
    stdio: "inherit",
  });
  if (status !== 0) process.exit(status ?? 1);
}

function fail(message) {
  console.error(message);
  process.exit(2);
}
