import { respond } from "kojin-postgres/http";
import { connectBackend } from "../../../backend";

interface Context {
  readonly params: Promise<{ id: string }>;
}

/** Answers with the result as soon as it is stored, or with 202 after 20 seconds. */
export async function GET(request: Request, { params }: Context): Promise<Response> {
  return respond(await connectBackend(), (await params).id, { request, waitMs: 20_000 });
}

/** Stores a result, as a worker does. */
export async function PUT(request: Request, { params }: Context): Promise<Response> {
  const backend = await connectBackend();
  await backend.store((await params).id, await request.json());
  return new Response(undefined, { status: 204 });
}
