import type { Diagnosis } from "../../index";
import type { CliCommand } from "../command";
import { exitCodes } from "../exit-codes";
import type { Session } from "../session";
import { printable } from "../text";

export const doctor = (program: CliCommand): void => {
  program
    .command("doctor")
    .summary("find what makes waits slow or miss notifications")
    .description(
      "Checks the server, the pooler, the listener, the notification queue and lock, roles, triggers, the schema and replication. Stores a test result, waits for it and deletes it. Prints a remedy for each problem, and exits with 1 if there is one. Warnings do not count.",
    )
    .option("--no-probe", "store no test result, and create no temporary table")
    .examples(
      ["doctor", "all checks"],
      ["doctor --no-probe", "only reads"],
      ["doctor --url postgres://pooler/app --listen-url postgres://db/app", "with the addresses of your program"],
      ["doctor --json | jq '.checks[] | select(.verdict != \"ok\")'", "what is wrong, for a monitor"],
    )
    .handle<{ readonly probe: boolean }>(async (session, _args, { probe }) => {
      const backend = await session.connect();
      const checks = await backend.diagnose({ probe });
      const problems = checks.filter(({ verdict }) => verdict === "problem").length;
      session.printJson({ ok: problems === 0, checks });
      printChecks(session, checks);
      session.print(problems === 0 ? "No problems found." : `${problems} problem${problems === 1 ? "" : "s"} found.`);
      return problems === 0 ? exitCodes.ok : exitCodes.failed;
    });
};

function printChecks(session: Session, checks: readonly Diagnosis[]): void {
  const width = Math.max(...checks.map(({ check }) => check.length));
  for (const { check, verdict, finding, remedy } of checks) {
    const label = verdict === "problem" ? "PROBLEM" : verdict;
    session.print(printable(`${label.padEnd(7)}  ${check.padEnd(width)}  ${finding}`));
    if (remedy !== undefined) session.print(printable(`${" ".repeat(width + 11)}Remedy: ${remedy}`));
  }
}
