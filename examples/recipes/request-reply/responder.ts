// Started by main.ts. Answers questions until its input ends.

import { once } from "node:events";
import { mergeMap } from "rxjs";
import { PostgresResultBackend } from "kojin-postgres";
import { answerId, idOfQuestion, isQuestion, type Question, readyId } from "./protocol";

async function main(): Promise<void> {
  const schema = process.env["RECIPE_SCHEMA"] ?? "public";
  await using backend = await PostgresResultBackend.connect(process.env["DATABASE_URL"] ?? "", { schema });
  const answering = backend
    .results$<Question>({ where: isQuestion })
    .pipe(mergeMap(async (outcome) => answer(backend, outcome.taskId, outcome.status === "fulfilled" && outcome.value)))
    .subscribe({ error: (error) => console.error("The responder has ended:", error) });
  // A hot stream: questions asked before this are missed.
  await backend.ready();
  await backend.store(readyId, true);

  process.stdin.resume();
  await once(process.stdin, "end");
  answering.unsubscribe();
}

async function answer(backend: PostgresResultBackend, taskId: string, question: Question | false): Promise<void> {
  if (question === false) return;
  const id = answerId(idOfQuestion(taskId));
  // With several responders, the first answer is kept.
  const options = { onConflict: "keep", ttlMs: 60_000 } as const;
  try {
    await backend.store(id, divide(question), options);
  } catch (error) {
    await backend.fail(id, error, options);
  }
}

function divide({ dividend, divisor }: Question): number {
  if (divisor === 0) throw new RangeError("division by zero");
  return dividend / divisor;
}

void main();
