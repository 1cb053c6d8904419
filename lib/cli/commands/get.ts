import { asJsonText } from "../../value/json-text";
import { parseId } from "../arguments";
import { examples, type RegisterCommand } from "../command";
import { printOutcome } from "../outcome";

export const get: RegisterCommand = (program, run) => {
  program
    .command("get")
    .summary("the result of a task")
    .description("Prints the stored result as JSON. Ends with 3 if there is none, and with 5 if the task failed.")
    .argument("<id>", "of the task", parseId)
    .addHelpText(
      "after",
      examples(["get email-42", "its result"], ["get email-42 --json", "one line, and a failure as an object, too"]),
    )
    .action(
      run(async (session, [taskId = ""]) =>
        session.withBackend(async (backend) =>
          printOutcome(session, taskId, await backend.getSettled(taskId, { schema: asJsonText })),
        ),
      ),
    );
};
