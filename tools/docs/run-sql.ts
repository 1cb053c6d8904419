import { Client } from "pg";
import type { Block } from "./markdown";
import type { Place } from "./servers";

/** Runs the statements of a block of SQL, and prepares those in strings of other languages. Returns the errors. */
export async function runSql(
  block: Block,
  { url }: Place,
  parameters: readonly (readonly unknown[])[] = [],
): Promise<string[]> {
  const client = new Client(url);
  client.on("error", () => undefined);
  await client.connect();
  try {
    if (block.language !== "sql") await prepare(client, block.code);
    else if (parameters.length === 0) await client.query(block.code);
    else
      for (const [index, text] of block.code.split(/;\n+/).entries())
        await client.query(text, [...(parameters[index] ?? [])]);
    return [];
  } catch (error) {
    return [String(error)];
  } finally {
    await client.end();
  }
}

async function prepare(client: Client, code: string): Promise<void> {
  const statements = [...code.matchAll(/"(select [^"]*)"/g)].map(([, text = ""]) => text);
  if (statements.length === 0) throw new Error("No statement found.");
  for (const [index, text] of statements.entries()) {
    let count = 0;
    await client.query(`prepare statement_${index} as ${text.replaceAll("%s", () => `$${(count += 1)}`)}`);
  }
}
