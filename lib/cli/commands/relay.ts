import { once } from "node:events";
import { type Relay, startRelay } from "../../relay/index";
import { parsePort } from "../arguments";
import { examples, type RegisterCommand } from "../command";
import { exitCodes } from "../exit-codes";
import { UsageError } from "../failure";
import { showReport } from "../relay/lines";
import { StatusServer } from "../relay/status-server";
import type { Session } from "../session";

interface Options {
  readonly port?: number;
  readonly host?: string;
}

export const relay: RegisterCommand = (program, run) => {
  program
    .command("relay")
    .summary("hand on notifications over NATS")
    .description(
      "Listens in Postgres, and tells over NATS what is announced there: by the triggers, for writers that do not tell over NATS themselves. Of several on a schema one does so, and the others stand by to take over. Goes on until it is ended; Ctrl-C and SIGTERM end it in order, with 0.",
    )
    .option("--port <number>", "answers /healthz and /metrics there; 0 takes any that is free", parsePort)
    .option("--host <name>", "the address for that (default: 127.0.0.1)")
    .addHelpText(
      "after",
      examples(
        ["relay --nats nats://one:4222,nats://two:4222", "of DATABASE_URL"],
        ["relay --port 9464", "answers a health check"],
        ["relay --host 0.0.0.0 --port 9464 --json", "in a container"],
      ),
    )
    .action(
      run<Options>(async (session, _args, options) => {
        if (options.host !== undefined && options.port === undefined)
          throw new UsageError("--host says where --port is; without --port nothing is answered.");
        if (session.options.notifier === "listen")
          throw new UsageError("The relay hands on over NATS, by nothing else.");
        const notifier = session.notifier();
        return session.withPool(async (pool) => {
          const { listenUrl } = session.options;
          const listen = listenUrl === undefined ? {} : { listen: { connection: listenUrl } };
          await using relaying = startRelay(pool, {
            notifier,
            schema: session.schema,
            logger: session.logger,
            ...listen,
          });
          await using status = await startStatus(session, options, relaying);
          if (status !== undefined) showAddress(session, status.url);
          const subscription = relaying.changes$.subscribe((each) => showReport(session, each));
          if (!session.interrupted.aborted) await once(session.interrupted, "abort");
          await relaying.close();
          subscription.unsubscribe();
          return exitCodes.ok;
        });
      }),
    );
};

async function startStatus(
  session: Session,
  { port, host = "127.0.0.1" }: Options,
  relaying: Relay,
): Promise<StatusServer | undefined> {
  if (port === undefined) return undefined;
  try {
    const hide = (text: string): string => session.withoutSecrets(text);
    return await StatusServer.start({ port, host, hide, report: () => relaying.report });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOTFOUND")
      throw new UsageError(`--host: ${(error as Error).message}`);
    throw error;
  }
}

function showAddress(session: Session, url: string): void {
  if (session.isJson) session.printJson({ at: new Date().toISOString(), type: "http", url });
  else session.print(`Answers ${url}/healthz and ${url}/metrics.`);
}
