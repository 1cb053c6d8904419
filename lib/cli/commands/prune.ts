import { Presets, SingleBar } from "cli-progress";
import type { PruneReport } from "../../index";
import { parseBatch, parseFiniteDuration } from "../arguments";
import { examples, type RegisterCommand } from "../command";
import { type ExitCode, exitCodes } from "../exit-codes";
import { exitCodeOfSignal } from "../failure";
import type { Session } from "../session";
import { inDigits } from "../text";

interface Options {
  readonly olderThan: number;
  readonly batch: number;
  readonly dryRun?: boolean;
}

/** Between two lines where there is no terminal. */
const lineIntervalMs = 2_000;

export const prune: RegisterCommand = (program, run) => {
  program
    .command("prune")
    .summary("delete what has expired")
    .description(
      "Deletes expired results and groups, in batches, each a transaction of its own. Readers never see them anyway; this gives the space back. Any number of processes may do so at once.",
    )
    .option("--older-than <duration>", "only what expired at least that long ago", parseFiniteDuration, 0)
    .option("--batch <rows>", "rows in one statement, and so locked at once", parseBatch, 1_000)
    .option("--dry-run", "count, and delete nothing")
    .addHelpText(
      "after",
      examples(
        ["prune", "all that has expired"],
        ["prune --older-than 7d", "a week ago or longer"],
        ["prune --dry-run", "how much would it be?"],
      ),
    )
    .action(
      run<Options>(async (session, _args, options) =>
        session.withBackend(async (backend) => {
          const { olderThan: olderThanMs, batch: batchRows } = options;
          const expired = await backend.countExpired({ olderThanMs });
          if (options.dryRun === true) return report(session, expired, "Would delete");
          const progress = new Progress(session, expired.results + expired.groups);
          let deleted: PruneReport = { results: 0, groups: 0 };
          try {
            const onProgress = (soFar: PruneReport): void => progress.show((deleted = soFar));
            deleted = await backend.prune({ olderThanMs, batchRows, signal: session.interrupted, onProgress });
          } catch (error) {
            if (!session.interrupted.aborted) throw error;
          } finally {
            progress.close();
          }
          const exitCode = report(session, deleted, "Deleted");
          return session.interrupted.aborted ? exitCodeOfSignal(session.interrupted.reason) : exitCode;
        }),
      ),
    );
};

function report(session: Session, { results, groups }: PruneReport, verb: string): ExitCode {
  const isInterrupted = session.interrupted.aborted;
  if (session.isJson) session.printJson({ results, groups, dryRun: verb !== "Deleted", interrupted: isInterrupted });
  else
    session.print(
      `${verb} ${inDigits(results)} results and ${inDigits(groups)} groups${isInterrupted ? ", and was interrupted" : ""}.`,
    );
  return exitCodes.ok;
}

/** A bar, or now and then a line where there is no terminal. */
class Progress {
  readonly #session: Session;
  readonly #total: number;
  #bar: SingleBar | undefined;
  #lastLineAt = performance.now();

  constructor(session: Session, total: number) {
    this.#session = session;
    this.#total = total;
    const { out } = session.terminal;
    if (out.isTTY !== true || session.isJson || total === 0) return;
    const format = "{bar} {value} of {total} rows deleted";
    // Signals are ours to handle.
    this.#bar = new SingleBar(
      { stream: out, format, barsize: 30, hideCursor: true, gracefulExit: false },
      Presets.shades_classic,
    );
    this.#bar.start(total, 0);
  }

  show({ results, groups }: PruneReport): void {
    const deleted = results + groups;
    // What expired meanwhile comes on top.
    this.#bar?.setTotal(Math.max(this.#total, deleted));
    this.#bar?.update(deleted);
    if (this.#bar !== undefined || performance.now() - this.#lastLineAt < lineIntervalMs) return;
    this.#lastLineAt = performance.now();
    this.#session.note(`${inDigits(deleted)} of ${inDigits(Math.max(this.#total, deleted))} rows deleted.`);
  }

  close(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }
}
