import { type ParseResult, loadModule, parsePlPgSQLSync, parseSync } from "libpg-query";

/** A name that Postgres would look up along the search path, or a construct in which it looks up an operator. */
export interface UnqualifiedName {
  readonly what: string;
  /** The statement or expression around it, on one line. */
  readonly context: string;
}

/** Postgres's own objects that a text uses, each by its bare name. */
interface UsedNames {
  readonly functions: Set<string>;
  readonly operators: Set<string>;
  readonly types: Set<string>;
}

export interface SqlNames {
  readonly unqualified: readonly UnqualifiedName[];
  readonly used: UsedNames;
}

export interface SqlNamesOptions {
  /** Schemas that may qualify names, besides those of Postgres. */
  readonly schemas: readonly string[];
  /** Names of transition tables, which a trigger function finds before any table of the search path. */
  readonly transitionTables?: readonly string[];
}

/** Loads the parser. Await it once before the first check. */
export const loadParser = loadModule;

type Node = Readonly<Record<string, unknown>>;
type Scope = ReadonlySet<string>;

const systemSchemas = ["pg_catalog", "information_schema"];

/**
 * Constructs in which Postgres looks up an operator by its bare name along the search path (PostgreSQL source,
 * parse_expr.c and parse_clause.c). All other grammar is safe and needs no name: COALESCE, GREATEST, LEAST, searched
 * CASE, IS NULL, IS TRUE, AND, OR, NOT, EXISTS, ARRAY, ROW, subscripts, CURRENT_TIMESTAMP, CURRENT_USER and the like;
 * EXTRACT, SUBSTRING … FROM, TRIM, POSITION and AT TIME ZONE, which the parser itself resolves to pg_catalog; the
 * keyword types (int, bigint, smallint, real, double precision, numeric, boolean, bit, char, varchar, interval, time,
 * timestamp); plain ORDER BY, GROUP BY and DISTINCT, which use the type's default operator class.
 */
const bareOperatorKinds: Readonly<Record<string, string>> = {
  AEXPR_IN: "IN",
  AEXPR_LIKE: "LIKE",
  AEXPR_ILIKE: "ILIKE",
  AEXPR_SIMILAR: "SIMILAR TO",
  AEXPR_BETWEEN: "BETWEEN",
  AEXPR_NOT_BETWEEN: "NOT BETWEEN",
  AEXPR_BETWEEN_SYM: "BETWEEN SYMMETRIC",
  AEXPR_NOT_BETWEEN_SYM: "NOT BETWEEN SYMMETRIC",
  AEXPR_DISTINCT: "IS DISTINCT FROM",
  AEXPR_NOT_DISTINCT: "IS NOT DISTINCT FROM",
  AEXPR_NULLIF: "NULLIF",
};

/** Types whose constants name an object, which is looked up too. */
const objectTypes = new Set(["regclass", "regproc", "regprocedure", "regoper", "regoperator", "regtype"]);
/** Functions whose first argument names an object. */
const objectFunctions = new Set(["nextval", "setval", "currval", "to_regclass", "to_regproc", "to_regtype"]);

/**
 * Finds unqualified names, and the Postgres names used, in one or more statements, including the bodies of functions
 * and DO blocks.
 */
export function sqlNames(text: string, options: SqlNamesOptions): SqlNames {
  const reader = new NameReader(options);
  reader.readText(text);
  return reader;
}

/**
 * Functions that store in the place of a plain statement. The application's triggers run with the session's search path
 * there too. Their own names are qualified like all others.
 */
const forTriggersOfOthers = /kojin_(store|fail)(_row|_each|_outcome)?$/;

/** The names that triggers give to their transition tables. */
export function transitionTablesOf(text: string): string[] {
  return (
    parseSync(text).stmts?.flatMap(({ stmt }) => {
      const trigger = (stmt as Node)["CreateTrigStmt"] as Node | undefined;
      return listOf(trigger?.["transitionRels"]).map((each) => String((each["TriggerTransition"] as Node)["name"]));
    }) ?? []
  );
}

class NameReader implements SqlNames {
  readonly unqualified: UnqualifiedName[] = [];
  readonly used: UsedNames = { functions: new Set(), operators: new Set(), types: new Set() };
  readonly #schemas: Scope;
  readonly #transitionTables: Scope;
  #context = "";

  constructor({ schemas, transitionTables = [] }: SqlNamesOptions) {
    this.#schemas = new Set([...systemSchemas, ...schemas]);
    this.#transitionTables = new Set(transitionTables);
  }

  readText(text: string): void {
    for (const { statement, source } of statementsOf(text)) {
      this.#context = source;
      this.#walk(statement, new Set());
      const kind = Object.keys(statement)[0];
      if (kind === "CreateFunctionStmt") this.#readFunction(statement[kind] as Node, source);
      if (kind === "DoStmt") this.#readBody(source);
    }
  }

  #readFunction(node: Node, source: string): void {
    const settings = definitionsOf(node["options"]);
    const language = settings.get("language");
    this.#context = source.slice(0, source.indexOf("("));
    if (!/search_path/.test(JSON.stringify(node["options"] ?? [])) && !forTriggersOfOthers.test(this.#context))
      this.#report("a function without a search_path of its own");
    if (language === "plpgsql") this.#readBody(source, new Set(this.#transitionTables));
    else if (settings.has("as")) this.readText(settings.get("as") ?? "");
  }

  #readBody(source: string, scope: Scope = new Set()): void {
    for (const expression of expressionsOf(source)) {
      this.#context = expression;
      for (const { stmt } of parseSync(expression).stmts ?? []) this.#walk(stmt, scope);
    }
  }

  #walk(value: unknown, scope: Scope): void {
    if (Array.isArray(value)) for (const each of value) this.#walk(each, scope);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return;
    const node = value as Node;
    const names = listOf((node["withClause"] as Node | undefined)?.["ctes"]).map((each) =>
      String((each["CommonTableExpr"] as Node)["ctename"]),
    );
    const inner = names.length === 0 ? scope : new Set([...scope, ...names]);
    for (const [kind, child] of Object.entries(node)) {
      if (typeof child === "object" && child !== null && !Array.isArray(child)) {
        this.#checkKind(kind, child as Node);
        this.#checkShape(child as Node, inner);
      }
      this.#walk(child, inner);
    }
  }

  /**
   * Names in nodes that appear under many fields, often without their kind. They are recognised by the fields they must
   * have.
   */
  #checkShape(node: Node, scope: Scope): void {
    if ("relname" in node && "relpersistence" in node) this.#table(node, scope);
    if ("names" in node && "typemod" in node) this.#name("type", node["names"], this.used.types);
    if ("collname" in node) this.#name("collation", node["collname"]);
    if ("objname" in node) this.#name("function", node["objname"]);
  }

  #checkKind(kind: string, node: Node): void {
    switch (kind) {
      case "FuncCall":
        this.#name("function", node["funcname"], this.used.functions);
        if (objectFunctions.has(namesIn(node["funcname"]).at(-1) ?? "")) this.#objectText(listOf(node["args"])[0]);
        break;
      case "A_Expr":
        this.#operator(String(node["kind"]), node["name"]);
        break;
      case "SubLink":
        if (node["operName"] !== undefined) this.#name("operator", node["operName"], this.used.operators);
        else if (node["testexpr"] !== undefined) this.#report("IN (select …)");
        break;
      case "CaseExpr":
        if (node["arg"] !== undefined) this.#report("CASE with an operand");
        break;
      case "JoinExpr":
        if (node["usingClause"] !== undefined) this.#report("JOIN … USING");
        if (node["isNatural"] === true) this.#report("NATURAL JOIN");
        break;
      case "SortBy":
        if (node["useOp"] !== undefined) this.#name("operator", node["useOp"], this.used.operators);
        break;
      case "TypeCast":
        if (objectTypes.has(namesIn((node["typeName"] as Node)["names"]).at(-1) ?? ""))
          this.#objectText(node["arg"] as Node);
        break;
      case "IndexElem":
        if (node["collation"] !== undefined) this.#name("collation", node["collation"]);
        if (node["opclass"] !== undefined) this.#name("operator class", node["opclass"]);
        break;
      case "CreateTrigStmt":
      case "CreateFunctionStmt":
        this.#name("function", node["funcname"]);
        break;
      case "DropStmt":
        this.#dropped(node);
        break;
    }
  }

  #operator(kind: string, name: unknown): void {
    const construct = bareOperatorKinds[kind];
    if (construct === undefined) this.#name("operator", name, this.used.operators);
    else this.#report(construct);
  }

  #table(node: Node, scope: Scope): void {
    const name = node["relname"];
    if (typeof name !== "string") return;
    const schema = node["schemaname"];
    if (typeof schema === "string") this.#schema("table", [schema, name]);
    else if (!scope.has(name)) this.#report(`table ${name}`);
  }

  #dropped(node: Node): void {
    const type = String(node["removeType"]);
    const length = type === "OBJECT_TRIGGER" || type === "OBJECT_RULE" || type === "OBJECT_POLICY" ? 3 : 2;
    if (type === "OBJECT_SCHEMA") return;
    for (const each of listOf(node["objects"])) {
      const names = namesIn((each["List"] as Node | undefined)?.["items"]);
      if (names.length > 0 && names.length < length) this.#report(`name ${names.join(".")}`);
    }
  }

  /** A constant that is looked up as the name of an object. */
  #objectText(node: Node | undefined): void {
    const cast = node?.["TypeCast"] as Node | undefined;
    const constant = (cast === undefined ? node : (cast["arg"] as Node))?.["A_Const"] as Node | undefined;
    const text = (constant?.["sval"] as Node | undefined)?.["sval"];
    if (typeof text === "string" && !text.includes(".")) this.#report(`object '${text}'`);
  }

  #name(what: string, value: unknown, used?: Set<string>): void {
    const names = namesIn(value);
    if (names.length < 2) this.#report(`${what} ${names.join(".")}`);
    else if (this.#schema(what, names) && names[0] === "pg_catalog") used?.add(names[1] ?? "");
  }

  #schema(what: string, names: readonly string[]): boolean {
    const isKnown = this.#schemas.has(names[0] ?? "");
    if (!isKnown) this.#report(`${what} ${names.join(".")} of an unexpected schema`);
    return isKnown;
  }

  #report(what: string): void {
    const context = this.#context.replace(/\s+/g, " ").trim().slice(0, 300);
    this.unqualified.push({ what, context });
  }
}

function statementsOf(text: string): { statement: Node; source: string }[] {
  const bytes = Buffer.from(text);
  const { stmts = [] }: ParseResult = parseSync(text);
  // Positions count bytes, and a length of 0 reaches to the end.
  return stmts.map(({ stmt, stmt_location: start = 0, stmt_len: length = 0 }) => ({
    statement: stmt as Node,
    source: bytes.subarray(start, length === 0 ? undefined : start + length).toString(),
  }));
}

const builtInVariables = new Set(["found", "sqlstate", "sqlerrm"]);

/** The SQL that a PL/pgSQL function or DO block evaluates, with each expression and declared type as a statement. */
function expressionsOf(source: string): string[] {
  const found: string[] = [];
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) value.forEach(visit);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return;
    const node = value as Node;
    const expression = node["PLpgSQL_expr"] as { query: string; parseMode?: number } | undefined;
    if (expression !== undefined) found.push(asStatement(expression.query, expression.parseMode ?? 0));
    const type = declaredType((node["PLpgSQL_var"] ?? node["PLpgSQL_rec"]) as Node | undefined);
    if (type !== undefined) found.push(`select null::${type}`);
    Object.values(node).forEach(visit);
  };
  visit(parsePlPgSQLSync(source));
  return [...new Set(found)];
}

/** The declared type of a variable; undefined for those that PL/pgSQL itself creates. */
function declaredType(variable: Node | undefined): string | undefined {
  const { refname: name = "", lineno } = (variable ?? {}) as { refname?: string; lineno?: number };
  const type = ((variable?.["datatype"] as Node | undefined)?.["PLpgSQL_type"] as Node | undefined)?.["typname"];
  if (typeof type !== "string" || type === "record" || type === "UNKNOWN") return undefined;
  if (lineno === undefined || builtInVariables.has(name) || name.startsWith("__")) return undefined;
  // `schema.table%rowtype` and `schema.table.column%type` name a table.
  return type.replace(/%(row)?type$/i, "");
}

/**
 * PostgreSQL source, RawParseMode: 0 is a statement, 2 an expression, 3 and more an assignment to a variable with its
 * target.
 */
function asStatement(query: string, mode: number): string {
  if (mode === 0) return query;
  if (mode === 2) return `select ${query}`;
  return `select ${query.replace(/^[^=]*?:?=/, "")}`;
}

const listOf = (value: unknown): Node[] => (Array.isArray(value) ? (value as Node[]) : []);

const namesIn = (value: unknown): string[] =>
  listOf(value).flatMap((each) => {
    const text = (each["String"] as Node | undefined)?.["sval"];
    return typeof text === "string" ? [text] : [];
  });

function definitionsOf(options: unknown): Map<string, string> {
  return new Map(
    listOf(options).flatMap((each) => {
      const { defname, arg } = each["DefElem"] as { defname: string; arg?: Node };
      const items = (arg?.["List"] as Node | undefined)?.["items"] ?? (arg === undefined ? [] : [arg]);
      return [[defname, namesIn(items)[0] ?? ""] as const];
    }),
  );
}
