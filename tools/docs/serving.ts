import { strict as assert } from "node:assert";
import { once } from "node:events";
import { type ClientRequest, get, type IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { eventually } from "../../spec/support/eventually";
import type { Scene, Stage } from "./run-code";

const hostilePaths = [
  "/%E0%A4%A",
  "/tasks/%E0%A4%A",
  "/tasks/%E0%A4%A?x",
  "/tasks/%00",
  "/groups/%E0%A4%A/events",
  "//",
];

/**
 * Sends requests to a server that a block starts, or that `start` makes of it: malformed ones, and some whose clients
 * leave. It must go on answering, and end the answers that are open when its backend closes.
 *
 * @param known - The path of a task that has the result `[1]`.
 */
export function serves(known = "/tasks/known", start?: Scene["after"]): Scene {
  return {
    // The README takes the whole path for the id.
    before: async ({ backend }) => {
      for (const id of ["known", "tasks/known"]) await backend.store(id, [1]);
      await backend.initGroup("open", 2);
    },
    after: async (names, stage) => {
      await start?.(names, stage);
      const isAlive = async (): Promise<void> => {
        const { answer } = await send(stage, `${known}?page=2&x=%E0%A4%A`);
        assert.equal(await answer, "[1]");
      };
      await eventually(isAlive);
      const leaving = [...hostilePaths, "/tasks/never", "/tasks/never/events", "/groups/open/events", "/?%E0%A4%A"];
      const sent = await Promise.all(leaving.map(async (path) => send(stage, path)));
      await isAlive();
      for (const { request } of sent) request.destroy();
      await isAlive();
      const paths = ["/tasks/late", "/tasks/late/events", "/groups/open/events"];
      const open = await Promise.all(paths.map(async (path) => send(stage, path)));
      await isAlive();
      // The block's own backend, or the one that the page or this scene gives it.
      const backends = [names, globalThis, stage].map((owner) => (owner as Partial<Stage>).backend);
      for (const backend of backends) await backend?.close();
      for (const { answer } of open) await answer;
    },
  };
}

/** Resolves when the request is sent. `answer` resolves when the answer is complete or was cut off. */
async function send({ port }: Stage, path: string): Promise<{ request: ClientRequest; answer: Promise<string> }> {
  const request = get({ port, path, agent: false, headers: { accept: "*/*" } });
  const answer = once(request, "response").then(
    async ([response]) => text(response as IncomingMessage).catch(String),
    String,
  );
  await Promise.race([once(request, "finish"), answer]);
  return { request, answer };
}
