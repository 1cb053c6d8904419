import { rmSync, writeFileSync } from "node:fs";
import { join, sep } from "node:path";
import ts from "typescript";

/**
 * Writes the declarations of what users can reach from the entry points. The others that the compiler emits are a third
 * of the whole.
 */
export function declare(root: string, output: string, entryPoints: readonly string[]): void {
  // The suite is compiled against the declarations of the library.
  for (const project of ["tsconfig.build.json", "tsconfig.conformance.json"]) emit(join(root, project));
  const entries = entryPoints.map((name) => join(output, `${name}.d.ts`));
  const reachable = new Reachable(ts.createProgram(entries, { noEmit: true, types: [] }), output);
  for (const entry of entries) reachable.addModule(entry);
  for (const file of ts.sys.readDirectory(output, [".d.ts"])) {
    const text = reachable.textOf(file);
    if (text === "") rmSync(file);
    else writeFileSync(file, text);
  }
}

function emit(configFile: string): void {
  const host = {
    ...ts.sys,
    onUnRecoverableConfigFileDiagnostic: (diagnostic: ts.Diagnostic) => fail([diagnostic]),
  };
  const config = ts.getParsedCommandLineOfConfigFile(configFile, { emitDeclarationOnly: true }, host);
  if (config === undefined) throw new Error(`Cannot read ${configFile}`);
  const program = ts.createProgram(config.fileNames, config.options);
  const problems = [...config.errors, ...ts.getPreEmitDiagnostics(program), ...program.emit().diagnostics];
  if (problems.length > 0) fail(problems);
}

function fail(problems: readonly ts.Diagnostic[]): never {
  const host = {
    getCanonicalFileName: (name: string) => name,
    getCurrentDirectory: () => ts.sys.getCurrentDirectory(),
    getNewLine: () => "\n",
  };
  throw new Error(ts.formatDiagnostics(problems, host));
}

/** Statements and specifiers that something exported refers to, however indirectly. */
class Reachable {
  readonly #program: ts.Program;
  readonly #checker: ts.TypeChecker;
  readonly #folder: string;
  readonly #nodes = new Set<ts.Node>();

  constructor(program: ts.Program, folder: string) {
    this.#program = program;
    this.#checker = program.getTypeChecker();
    this.#folder = folder + sep;
  }

  addModule(file: string): void {
    const source = this.#program.getSourceFile(file);
    const symbol = source && this.#checker.getSymbolAtLocation(source);
    for (const exported of symbol === undefined ? [] : (symbol.exports?.values() ?? [])) this.#addSymbol(exported);
  }

  textOf(file: string): string {
    const statements = this.#program.getSourceFile(file)?.statements ?? [];
    return statements
      .map((statement) => {
        if (this.#nodes.has(statement)) return statement.getFullText();
        if (ts.isImportDeclaration(statement))
          return this.#partOf(statement, "import", statement.importClause?.namedBindings);
        if (ts.isExportDeclaration(statement)) return this.#partOf(statement, "export", statement.exportClause);
        return "";
      })
      .join("")
      .trimStart();
  }

  /** Returns the import or export of those names that are needed. */
  #partOf(
    statement: ts.ImportDeclaration | ts.ExportDeclaration,
    keyword: string,
    names: ts.NamedImportBindings | ts.NamedExportBindings | undefined,
  ): string {
    if (names === undefined || ts.isNamespaceImport(names) || ts.isNamespaceExport(names)) return "";
    const kept = names.elements.filter((name) => this.#nodes.has(name)).map((name) => name.getText());
    if (kept.length === 0) return "";
    const type = /^\w+ type\b/.test(statement.getText()) ? " type" : "";
    const from = statement.moduleSpecifier === undefined ? "" : ` from ${statement.moduleSpecifier.getText()}`;
    return `\n${keyword}${type} { ${kept.join(", ")} }${from};`;
  }

  #addSymbol(symbol: ts.Symbol): void {
    for (const node of symbol.declarations ?? []) {
      if (ts.isImportSpecifier(node) || ts.isExportSpecifier(node)) this.#add(node);
      else this.#addStatement(node);
    }
    if ((symbol.flags & ts.SymbolFlags.Alias) === 0) return;
    const target = this.#checker.getImmediateAliasedSymbol(symbol);
    if (target !== undefined) this.#addSymbol(target);
  }

  #addStatement(node: ts.Node): void {
    if (!node.getSourceFile().fileName.startsWith(this.#folder) || ts.isSourceFile(node)) return;
    let statement = node;
    while (!ts.isSourceFile(statement.parent)) statement = statement.parent;
    if (this.#add(statement) && !ts.isImportDeclaration(statement)) this.#addReferences(statement);
  }

  #addReferences(node: ts.Node): void {
    const symbol = ts.isIdentifier(node) ? this.#checker.getSymbolAtLocation(node) : undefined;
    if (symbol !== undefined) this.#addSymbol(symbol);
    ts.forEachChild(node, (child) => this.#addReferences(child));
  }

  /** Returns false if the node had been added before. */
  #add(node: ts.Node): boolean {
    const isNew = !this.#nodes.has(node);
    this.#nodes.add(node);
    return isNew;
  }
}
