import { once } from "node:events";
import { type IncomingHttpHeaders, type IncomingMessage, request } from "node:http";

export interface Answer {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** Sends a request with any headers, and without following redirects. */
export async function ask(
  url: string,
  headers: Readonly<Record<string, string>> = {},
  method = "GET",
): Promise<Answer> {
  const asked = request(url, { headers, method, agent: false });
  asked.end();
  const [response] = (await once(asked, "response")) as [IncomingMessage];
  const isStream = response.headers["content-type"]?.startsWith("text/event-stream") === true;
  // A stream does not end.
  const text = isStream ? "" : Buffer.concat(await response.toArray()).toString();
  if (isStream) response.destroy();
  return { status: response.statusCode, headers: response.headers, text };
}

/** One event of a stream. */
export interface ServerEvent {
  readonly id: string | undefined;
  readonly type: string;
  readonly data: string;
}

/** Reads a stream of events. Leaving the loop closes the connection. */
export async function* eventsOf(url: string): AsyncGenerator<ServerEvent> {
  const asked = request(url, { agent: false });
  asked.end();
  const [response] = (await once(asked, "response")) as [IncomingMessage];
  response.setEncoding("utf8");
  let text = "";
  try {
    for await (const chunk of response) {
      text += String(chunk);
      const blocks = text.split("\n\n");
      text = blocks.pop() ?? "";
      for (const block of blocks) {
        const fields = new Map(block.split("\n").map((line) => fieldOf(line)));
        const type = fields.get("event");
        if (type !== undefined) yield { id: fields.get("id"), type, data: fields.get("data") ?? "" };
      }
    }
  } finally {
    response.destroy();
  }
}

function fieldOf(line: string): [string, string] {
  const [, name = "", value = ""] = /^([^:]*)(?:: ?(.*))?$/.exec(line) ?? [];
  return [name, value];
}
