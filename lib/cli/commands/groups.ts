import { firstValueFrom, mergeMap, take, takeUntil, timer, toArray } from "rxjs";
import type { TaskFailedError, TaskFailure } from "../../errors";
import type { GroupProgress, PostgresResultBackend } from "../../index";
import { asJsonText } from "../../value/decoding";
import { exactFailure } from "../../value/failure";
import { layOut, stringifyExactly } from "../../value/json-text";
import { type CliCommand, parseId } from "../command";
import { type ExitCode, exitCodes } from "../exit-codes";
import type { Session } from "../session";
import { inDigits, printable } from "../text";

/** Failed members that are named. */
const maxFailures = 10;
/** Longest search for them in a large group. */
const maxReadMs = 5_000;

export const group = (program: CliCommand): void => {
  const command = program.command("group");
  command
    .summary("print the progress of a group")
    .description(
      "Prints how many members have completed and failed, and the errors of the first that failed. Exits with 3 if the group is unknown, and with 5 if it is done and members failed.",
    )
    .argument("<id>", "id of the group", parseId)
    .option("--results", "also print the results of completed members")
    .examples(["group book-7", "its progress"], ["group book-7 --results --json | jq .results", "its results"])
    .handle<{ readonly results?: boolean }>(async (session, [groupId = ""], options) => {
      const backend = await session.connect();
      const progress = await backend.getGroup(groupId);
      if (progress === undefined) return noGroup(session, groupId);
      const results =
        options.results === true ? await backend.getGroupResults(groupId, { schema: asJsonText }) : undefined;
      const failures = await firstFailures(backend, progress);
      session.printJson({ ...progress, failures, results });
      const line = printable(`${groupId}: ${describeProgress(progress)}`);
      session.print(progress.failed > 0 ? session.paint("red", line) : line);
      for (const { taskId, failure } of failures)
        session.print(printable(`  ${taskId}  ${failure.name}: ${failure.message}`));
      if (failures.length < progress.failed) session.print(`  and ${inDigits(progress.failed - failures.length)} more`);
      if (results !== undefined) session.print(layOut(printable(stringifyExactly(results) ?? ""), "  "));
      return progress.done && progress.failed > 0 ? exitCodes.taskFailed : exitCodes.ok;
    });
  // Not the command `group help`, since a group may have that id.
  deleteGroup(command.helpCommand(false));
};

interface MemberFailure {
  readonly taskId: string;
  readonly failure: TaskFailure;
}

/** Returns the members that failed first. */
async function firstFailures(
  backend: PostgresResultBackend,
  { groupId, failed }: GroupProgress,
): Promise<MemberFailure[]> {
  if (failed === 0) return [];
  const failures$ = backend.groupMembers$(groupId, { schema: asJsonText }).pipe(
    mergeMap((member) =>
      member.status === "fulfilled"
        ? []
        : [{ taskId: member.taskId, failure: exactFailure((member.reason as TaskFailedError).failure) }],
    ),
    take(Math.min(failed, maxFailures)),
    takeUntil(timer(maxReadMs)),
    toArray(),
  );
  return firstValueFrom(failures$);
}

const deleteGroup = (groupCommand: CliCommand): void => {
  groupCommand
    .command("delete")
    .summary("delete a group")
    .description("Deletes a group with its members and any claim on it. Exits with 3 if the group is unknown.")
    .argument("<id>", "id of the group", parseId)
    .examples(["group delete book-7", "whether it is done or not"])
    .handle(async (session, [groupId = ""]) => {
      const backend = await session.connect();
      if (!(await backend.deleteGroup(groupId))) return noGroup(session, groupId);
      session.printJson({ groupId, status: "deleted" });
      session.note(`Deleted the group ${groupId} with its members.`);
      return exitCodes.ok;
    });
};

function noGroup(session: Session, groupId: string): ExitCode {
  session.printJson({ groupId, status: "missing" });
  session.note(`There is no group ${groupId}, or it has expired.`);
  return exitCodes.notFound;
}

export function describeProgress({ total, completed, failed, done }: GroupProgress): string {
  const size = total === null ? "an unknown number" : inDigits(total);
  const failures = failed === 0 ? "" : `, ${inDigits(failed)} failed`;
  return `${done ? "done, " : ""}${inDigits(completed)} of ${size} completed${failures}`;
}
