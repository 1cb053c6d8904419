import { once } from "node:events";
import { parsePort } from "../arguments";
import { examples, type RegisterCommand } from "../command";
import { startDashboard } from "../../dashboard/dashboard";
import type { DashboardOptions } from "../../dashboard/dashboard-options";
import { exitCodes } from "../exit-codes";
import { UsageError } from "../failure";

export const dashboard: RegisterCommand = (program, run) => {
  program
    .command("dashboard")
    .summary("a live page of results and groups")
    .description(
      "Serves a page that shows results, failures and groups as they come, on this machine only unless told otherwise. Without an address of a database it starts a server of its own. Ctrl-C ends it, with 0.",
    )
    .option("--port <number>", "where to listen; 0 takes any that is free (default: 5480)", parsePort)
    .option("--host <name>", "the address to listen at; others than this machine's need a token (default: 127.0.0.1)")
    .option("--token <text>", "what whoever asks has to know; made if one is needed and none is given")
    .option("--show-results", "values and messages of failures, too; mind who sees the page")
    .addHelpText(
      "after",
      examples(
        ["dashboard", "of DATABASE_URL"],
        ["dashboard --port 8080 --show-results", "with values"],
        ["dashboard --host 0.0.0.0", "for others, with a token in the address that is printed"],
      ),
    )
    .action(
      run<DashboardOptions>(async (session, _args, { port, host, token, showResults }) =>
        session.withBackend(
          async (backend) => {
            const given = { port, host, token, showResults };
            // An option that was not given is not there at all.
            const options = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
            await using page = await startDashboard(backend, options).catch((error: unknown) => {
              if (error instanceof TypeError || error instanceof RangeError) throw new UsageError(error.message);
              throw error;
            });
            if (session.isJson) session.printJson({ url: page.url });
            else session.print(`The dashboard is at ${page.url}\nCtrl-C ends it.`);
            if (!session.interrupted.aborted) await once(session.interrupted, "abort");
            return exitCodes.ok;
          },
          { embedded: true },
        ),
      ),
    );
};
