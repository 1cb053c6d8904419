import { randomUUID } from "node:crypto";
import type { PostgresResultBackend } from "kojin-postgres";
import { answerWhenDone, sendJson, untilGone } from "../support/answer";
import { until } from "../support/until";
import { WebServer } from "../support/web-server";

export interface ThumbnailTask {
  /** Chosen before the task is enqueued, so it can be awaited before the queue knows it. It cannot be guessed. */
  readonly taskId: string;
  readonly image: string;
}

/** The work of the workers. It stands for anything that takes time and may fail. */
export class Studio {
  #finish: () => void = () => undefined;
  readonly #mayFinish = new Promise<void>((resolve) => {
    this.#finish = resolve;
  });

  async makeThumbnail(image: string): Promise<{ image: string; width: number }> {
    if (image === "broken.png") throw new RangeError("broken.png is not an image");
    if (image === "large.png") await this.#mayFinish;
    return { image, width: 64 };
  }

  /** Lets large.png finish. */
  finishLarge(): void {
    this.#finish();
  }
}

/** `POST /thumbnails/IMAGE` enqueues a task and waits for its result. `GET /tasks/ID` waits again. */
export async function startThumbnailServer(
  backend: PostgresResultBackend,
  enqueue: (task: ThumbnailTask) => Promise<unknown>,
): Promise<WebServer> {
  return WebServer.start(async (request, response) => {
    const signal = untilGone(response);
    const [, kind, name = ""] = (request.url ?? "/").split("/").map(decodeURIComponent);
    // The time that the client wants to wait, in seconds (RFC 7240). Default 10.
    const seconds = Number(/\bwait=(\d{1,2})\b/.exec(String(request.headers["prefer"]))?.[1] ?? 10);
    const options = { timeoutMs: seconds * 1_000, signal };
    if (request.method === "POST" && kind === "thumbnails") {
      const task = { taskId: randomUUID(), image: name };
      await enqueue(task);
      await answerWhenDone(backend, task.taskId, response, options);
    } else if (request.method === "GET" && kind === "tasks") {
      await answerWhenDone(backend, name, response, options);
    } else {
      sendJson(response, 404, { error: "there is no such page" });
    }
  });
}

/** Visits the server and shows its answers. */
export async function visit(server: WebServer, backend: PostgresResultBackend, studio: Studio): Promise<void> {
  try {
    await makeVisits(server, backend, studio);
  } finally {
    // Otherwise the queue would wait for its workers without end.
    studio.finishLarge();
  }
}

async function makeVisits({ url }: WebServer, backend: PostgresResultBackend, studio: Studio): Promise<void> {
  const post = async (image: string, init?: RequestInit): Promise<Response> =>
    fetch(`${url}/thumbnails/${image}`, { method: "POST", ...init });
  const describe = async (response: Response): Promise<string> => `${response.status} ${await response.text()}`;

  console.log(`small.png: ${await describe(await post("small.png"))}`);

  await post("large.png", { signal: AbortSignal.timeout(300) }).catch(() => undefined);
  // Half as long as the wait would take.
  await until(() => backend.stats().waiting === 0, 5_000);
  console.log("large.png: the visitor has left, and nothing waits any more");

  const early = await post("large.png", { headers: { prefer: "wait=1" } });
  const location = early.headers.get("location") ?? "";
  console.log(`large.png: ${early.status}, ask again at ${location.replace(/[0-9a-f-]{36}$/, "ID")}`);
  studio.finishLarge();
  console.log(`large.png: ${await describe(await fetch(`${url}${location}`))}`);

  console.log(`broken.png: ${await describe(await post("broken.png"))}`);
}
