import { Option } from "commander";
import { parseDuration } from "../arguments";
import { examples, type RegisterCommand } from "../command";
import { exitCodes } from "../exit-codes";
import { UsageError } from "../failure";
import type { Session } from "../session";
import { BarView } from "../watch/bar-view";
import type { WatchView } from "../watch/events";
import { JsonView } from "../watch/json-view";
import { LineView } from "../watch/line-view";
import { Watcher } from "../watch/watcher";

interface Options {
  readonly results: boolean;
  readonly groups: boolean;
  readonly prefix: string;
  readonly showResults?: boolean;
  readonly every?: number;
  readonly for: number;
}

const barRatesIntervalMs = 1_000;
const lineRatesIntervalMs = 10_000;

export const watch: RegisterCommand = (program, run) => {
  program
    .command("watch")
    .summary("results and groups as they come")
    .description(
      "Shows every result that is stored from now on, by whatever process, and how far the open groups are. On a terminal each group has a bar; elsewhere there is a line for each event. Values are not shown unless asked for. Ctrl-C ends it, with 0.",
    )
    .option("--no-results", "groups only")
    .option("--no-groups", "results only")
    .option("--prefix <text>", "only tasks and groups whose id begins so", "")
    .option("--show-results", "the values, too; mind who sees the terminal, or the log")
    .option("--every <duration>", "between two rates (default: 1s on a terminal, else 10s)", parseDuration)
    .addOption(
      new Option("--for <duration>", "end by itself after that").argParser(parseDuration).default(Infinity, "never"),
    )
    .addHelpText(
      "after",
      examples(
        ["watch", "everything"],
        ["watch --prefix upload: --no-groups", "some results"],
        ["watch --json --for 1m | jq -r 'select(.status == \"rejected\").taskId'", "which tasks fail?"],
      ),
    )
    .action(
      run<Options>(async (session, _args, options) => {
        if (!options.results && !options.groups)
          throw new UsageError("Without results and groups there is nothing to watch.");
        const { results, groups, prefix, showResults = false } = options;
        const isBars = session.terminal.out.isTTY === true && !session.isJson;
        const ratesIntervalMs = Math.max(100, options.every ?? (isBars ? barRatesIntervalMs : lineRatesIntervalMs));
        return session.withBackend(async (backend) => {
          const view = createView(session, isBars);
          const limits = { signal: session.interrupted, forMs: options.for, ratesIntervalMs };
          await new Watcher(backend, view, { results, groups, prefix, showResults, ...limits }).run();
          return exitCodes.ok;
        });
      }),
    );
};

function createView(session: Session, isBars: boolean): WatchView {
  if (session.isJson) return new JsonView(session);
  return isBars ? new BarView(session.terminal.out) : new LineView(session);
}
