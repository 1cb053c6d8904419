import type { GroupProgress, PostgresResultBackend } from "../../index";
import { asJsonText, layOut, stringifyExactly } from "../../value/json-text";
import { parseId } from "../arguments";
import { examples, type RegisterCommand } from "../command";
import { type ExitCode, exitCodes } from "../exit-codes";
import type { Session } from "../session";
import { groupInWords } from "../watch/words";
import { printable } from "../text";

interface Options {
  readonly results?: boolean;
}

export const group: RegisterCommand = (program, run) => {
  program
    .command("group")
    .summary("how far a group is")
    .description(
      "Shows how many members of a group are completed and failed. Ends with 3 if nothing is known of it, and with 5 if it is done and members failed.",
    )
    .argument("<id>", "of the group", parseId)
    .option("--results", "print the results of its completed members, too")
    .addHelpText(
      "after",
      examples(["group book-7", "how far is it?"], ["group book-7 --results --json | jq .results", "what came of it"]),
    )
    .action(
      run<Options>(async (session, [groupId = ""], { results }) =>
        session.withBackend(async (backend) => {
          const progress = await backend.getGroup(groupId);
          if (progress === undefined) return printMissing(session, groupId);
          await printGroup(session, backend, progress, results === true);
          return progress.done && progress.failed > 0 ? exitCodes.taskFailed : exitCodes.ok;
        }),
      ),
    );
};

function printMissing(session: Session, groupId: string): ExitCode {
  if (session.isJson) session.printJson({ groupId, status: "missing" });
  else session.note(`Nothing is known of group ${groupId}, or it has expired.`);
  return exitCodes.notFound;
}

async function printGroup(
  session: Session,
  backend: PostgresResultBackend,
  progress: GroupProgress,
  withResults: boolean,
): Promise<void> {
  const results = withResults
    ? { results: await backend.getGroupResults(progress.groupId, { schema: asJsonText }) }
    : {};
  if (session.isJson) {
    session.printJson({ ...progress, ...results });
    return;
  }
  session.print(printable(`${progress.groupId}: ${groupInWords(progress)}`));
  if (results.results !== undefined) session.print(layOut(printable(stringifyExactly(results.results) ?? ""), "  "));
}
