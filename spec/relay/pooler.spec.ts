import { Pool } from "pg";
import { nats, startRelay } from "kojin-postgres/nats";
import { natsServerMissing } from "../support/nats-server";
import { eventually } from "../support/eventually";
import { PgBouncer, pgBouncerMissing } from "../support/pgbouncer";
import { describeWhere } from "../support/where";
import { relaySuite, untilLeading } from "./support/relay-suite";

const missing = natsServerMissing() ?? pgBouncerMissing();

describeWhere(missing === undefined, missing ?? "")("a relay behind a pooler in transaction mode", () => {
  const suite = relaySuite("relay pooler");
  const { database } = suite;

  it("takes no lock that it could not give back, and says that it needs a direct address; with one it leads", async () => {
    const pooler = await PgBouncer.start(database.url, "transaction", 4);
    const pool = new Pool({ connectionString: pooler.url });
    pool.on("error", () => undefined);
    const notifier = nats({ servers: suite.nats.url });
    const pooled = startRelay(pool, { notifier, schema: database.schema });
    await eventually(() =>
      expect(pooled.report.problems).toEqual([
        "Cannot reach the database: the connection goes through a pooler, but a relay needs a direct address to listen on.",
      ]),
    );
    const direct = startRelay(pool, { notifier, schema: database.schema, listen: { connection: database.url } });
    await untilLeading(direct);
    await Promise.all([pooled.close(), direct.close()]);
    await pool.end();
    await pooler.stop();
  });
});
