import type { ResultBackend } from "kojin-postgres";

/** Emits the tokens of an answer as a model creates them, and stores the whole answer at the end. */
export async function answer(backend: ResultBackend, taskId: string, tokens: AsyncIterable<string>): Promise<string> {
  let text = "";
  try {
    for await (const token of tokens) {
      await backend.emit(taskId, token);
      text += token;
    }
  } catch (error) {
    await backend.fail(taskId, error);
    throw error;
  }
  await backend.store(taskId, text);
  return text;
}
