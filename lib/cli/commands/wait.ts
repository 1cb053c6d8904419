import { Option } from "commander";
import { isWaitTimeout } from "../../value/foreign";
import { asJsonText } from "../../value/json-text";
import { parseDuration, parseId } from "../arguments";
import { examples, type RegisterCommand } from "../command";
import { exitCodes } from "../exit-codes";
import { printOutcome } from "../outcome";

interface Options {
  readonly timeout: number;
}

export const wait: RegisterCommand = (program, run) => {
  program
    .command("wait")
    .summary("wait for the result of a task")
    .description(
      "Waits until a result is stored, by whatever process, and prints it as JSON; at once if it is there. Ends with 4 when the time is up, and with 5 if the task failed.",
    )
    .argument("<id>", "of the task", parseId)
    .addOption(
      new Option("--timeout <duration>", "the longest wait: 500ms, 30s, 5m, never")
        .argParser(parseDuration)
        .default(30_000, "30s"),
    )
    .addHelpText(
      "after",
      examples(
        ["wait email-42", "30 seconds at the most"],
        ["wait email-42 --timeout 5m && echo sent", "longer"],
        ["wait email-42 --timeout 0", "look once"],
      ),
    )
    .action(
      run<Options>(async (session, [taskId = ""], { timeout }) =>
        session.withBackend(async (backend) => {
          try {
            const limits = { timeoutMs: timeout, signal: session.interrupted, schema: asJsonText };
            return printOutcome(session, taskId, await backend.waitSettled(taskId, limits));
          } catch (error) {
            if (!isWaitTimeout(error) || !session.isJson) throw error;
            session.printJson({ taskId, status: "timeout", timeoutMs: error.timeoutMs });
            return exitCodes.timedOut;
          }
        }),
      ),
    );
};
