import { Presets, SingleBar } from "cli-progress";
import type { PruneReport } from "../../index";
import { parseFiniteDuration, parseInteger, type CliCommand } from "../command";
import { exitCodeOfSignal, exitCodes } from "../exit-codes";
import type { Session } from "../session";
import { inDigits } from "../text";

interface PruneOptions {
  readonly olderThan: number;
  readonly batch: number;
  readonly dryRun?: boolean;
}

const noteIntervalMs = 2_000;

export const prune = (program: CliCommand): void => {
  program
    .command("prune")
    .summary("delete expired results and groups")
    .description(
      "Deletes expired results and groups in batches, each in its own transaction. Readers never see expired rows; pruning frees their space. Any number of processes may run it at once.",
    )
    .option("--older-than <duration>", "only rows that expired at least this long ago", parseFiniteDuration, 0)
    .option("--batch <rows>", "rows per statement, which are locked together", parseInteger(1, 100_000), 1_000)
    .option("--dry-run", "only count")
    .examples(
      ["prune", "everything that has expired"],
      ["prune --older-than 7d", "only what expired over a week ago"],
      ["prune --dry-run", "how many rows?"],
    )
    .handle<PruneOptions>(async (session, _args, { olderThan: olderThanMs, batch: batchRows, dryRun = false }) => {
      const backend = await session.connect();
      const expired = await backend.countExpired({ olderThanMs });
      if (dryRun) {
        report(session, expired, true);
        return exitCodes.ok;
      }
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
      report(session, deleted, false);
      return session.interrupted.aborted ? exitCodeOfSignal(session.interrupted.reason) : exitCodes.ok;
    });
};

function report(session: Session, { results, groups }: PruneReport, dryRun: boolean): void {
  const { aborted: interrupted } = session.interrupted;
  session.printJson({ results, groups, dryRun, interrupted });
  const counts = `${inDigits(results)} results and ${inDigits(groups)} groups`;
  session.print(`${dryRun ? "Would delete" : "Deleted"} ${counts}${interrupted ? ", then was interrupted" : ""}.`);
}

/** A bar on a terminal, otherwise a line from time to time. */
class Progress {
  readonly #session: Session;
  readonly #total: number;
  readonly #bar: SingleBar | undefined;
  #notedAt = performance.now();

  constructor(session: Session, total: number) {
    this.#session = session;
    this.#total = total;
    const { out } = session.terminal;
    if (out.isTTY !== true || session.isJson || total === 0) return;
    const format = "{bar} {value} of {total} rows deleted";
    // The program handles signals itself.
    const options = { stream: out, format, barsize: 30, hideCursor: true, gracefulExit: false };
    this.#bar = new SingleBar(options, Presets.shades_classic);
    this.#bar.start(total, 0);
  }

  show({ results, groups }: PruneReport): void {
    const deleted = results + groups;
    // More rows may have expired since they were counted.
    const total = Math.max(this.#total, deleted);
    this.#bar?.setTotal(total);
    this.#bar?.update(deleted);
    if (this.#bar !== undefined || performance.now() - this.#notedAt < noteIntervalMs) return;
    this.#notedAt = performance.now();
    this.#session.note(`${inDigits(deleted)} of ${inDigits(total)} rows deleted.`);
  }

  close(): void {
    this.#bar?.stop();
  }
}
