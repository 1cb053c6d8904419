// Bundled with its dependencies: migrates, stores, and is woken by the notification.
import { PostgresResultBackend } from "kojin-postgres";

async function main() {
  // Without its optional package, telemetry only logs that it is off.
  const backend = await PostgresResultBackend.connect(process.env.DATABASE_URL, { telemetry: true });
  await backend.migrate();
  await backend.ready();
  const waiting = backend.wait("bundled", 10_000);
  await backend.store("bundled", 42);
  console.log(await waiting, backend.stats().status);
  await backend.delete("bundled");
  await backend.close();
}

main();
