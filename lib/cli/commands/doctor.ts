import type { Diagnosis } from "../../index";
import { examples, type RegisterCommand } from "../command";
import { exitCodes } from "../exit-codes";
import type { Session } from "../session";
import { printable } from "../text";

interface Options {
  readonly probe: boolean;
}

const labels: Readonly<Record<Diagnosis["verdict"], string>> = {
  ok: "ok",
  warning: "warning",
  problem: "PROBLEM",
  unknown: "unknown",
};

export const doctor: RegisterCommand = (program, run) => {
  program
    .command("doctor")
    .summary("why are waits slow or deaf, and what to do")
    .description(
      "Checks each thing that makes waits slow or deaf: an old server or a standby, a pooler in between, a listener that does not hear, the notification queue and lock, too many listeners, roles that write without announcing, a schema that is missing or was renamed, triggers, replication; and stores a result, waits for it and deletes it. Says the remedy for each. Ends with 1 if there is a problem; a warning is none.",
    )
    .option("--no-probe", "store nothing, and make no temporary table")
    .addHelpText(
      "after",
      examples(
        ["doctor", "all of it"],
        ["doctor --no-probe", "reading only"],
        ["doctor --url postgres://pooler/app --listen-url postgres://db/app", "as the program does it"],
        ["doctor --json | jq '.checks[] | select(.verdict != \"ok\")'", "what is wrong, for a monitor"],
      ),
    )
    .action(
      run<Options>(async (session, _args, { probe }) =>
        session.withBackend(async (backend) => {
          const checks = await backend.diagnose({ probe });
          const isWell = !checks.some(({ verdict }) => verdict === "problem");
          if (session.isJson) session.printJson({ ok: isWell, checks });
          else print(session, checks, isWell);
          return isWell ? exitCodes.ok : exitCodes.failed;
        }),
      ),
    );
};

function print(session: Session, checks: readonly Diagnosis[], isWell: boolean): void {
  const width = Math.max(...checks.map(({ check }) => check.length));
  for (const { check, verdict, finding, remedy } of checks) {
    session.print(printable(`${labels[verdict].padEnd(7)}  ${check.padEnd(width)}  ${finding}`));
    if (remedy !== undefined) session.print(printable(`${" ".repeat(width + 11)}Remedy: ${remedy}`));
  }
  const problems = checks.filter(({ verdict }) => verdict === "problem").length;
  session.print(isWell ? "Nothing that would make waits slow or deaf." : `${problems} problem(s).`);
}
