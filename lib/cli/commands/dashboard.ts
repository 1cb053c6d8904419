import { once } from "node:events";
import { startDashboard } from "../../dashboard/dashboard";
import type { DashboardOptions } from "../../dashboard/dashboard-options";
import { parseInteger, type CliCommand } from "../command";
import { asUsage, exitCodes } from "../exit-codes";
import type { Session } from "../session";

export const dashboard = (program: CliCommand): void => {
  program
    .command("dashboard")
    .summary("serve a live page of results and groups")
    .description(
      "Serves a page that shows results, failures and groups as they arrive. By default only this machine can open it. Without a database address it starts a temporary server. Ctrl-C ends the command and exits with 0.",
    )
    .option("--port <number>", "port to listen on; 0 takes any free one (default: 5480)", parseInteger(0, 65_535))
    .option("--host <name>", "address to listen on; others than this machine's need a token (default: 127.0.0.1)")
    .option("--token <text>", "token that clients must present; created if one is needed and none is given")
    .option("--show-results", "also show values and failure messages; anyone who opens the page sees them")
    .examples(
      ["dashboard", "of DATABASE_URL"],
      ["dashboard --port 8080 --show-results", "with values"],
      ["dashboard --host 0.0.0.0", "for other machines; prints an address with a token"],
    )
    .handle<DashboardOptions>(async (session, _args, options) => {
      const backend = session.url === undefined ? await connectToTemporaryServer(session) : await session.connect();
      await using page = await asUsage(async () => startDashboard(backend, options));
      session.printJson({ url: page.url });
      session.print(`The dashboard is at ${page.url}\nPress Ctrl-C to stop it.`);
      if (!session.interrupted.aborted) await once(session.interrupted, "abort");
      return exitCodes.ok;
    });
};

async function connectToTemporaryServer(session: Session): ReturnType<Session["connect"]> {
  const backend = await session.connect(await session.startServer());
  await backend.migrate();
  return backend;
}
