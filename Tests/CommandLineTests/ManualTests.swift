// The manual and the completions are made from the declarations: nothing that --help knows is missing in them, the
// formatters find nothing to complain about, and shells complete with them.

import CellScreen
import Explorer
import Foundation
import TestSupport
import Testing

@Suite("Manual and completions", .tags(.terminal)) struct ManualTests {
  private func output(_ arguments: [String]) throws -> String {
    let result = try TestSupport.run(try builtProduct("qatlas"), arguments)
    #expect(result.status == 0 && result.stderr.isEmpty, "\(arguments): \(result.stderr)")
    return result.stdout
  }

  /// The subcommands that the program lists.
  private func subcommands() throws -> [String] {
    let help = try output(["--help"])
    let rows = help.split(separator: "SUBCOMMANDS:").last?.split(separator: "\n") ?? []
    return rows.filter { $0.hasPrefix("  ") && !$0.hasPrefix("   ") && !$0.contains("See 'qatlas") }
      .compactMap { $0.split(separator: " ").first.map(String.init) }
  }

  /// The options that the help of a subcommand lists, with their dashes.
  private func options(_ verb: String) throws -> [String] {
    let help = try output(["help", verb])
    return help.split(separator: "\n").filter { $0.hasPrefix("  -") }.flatMap { line in
      line.dropFirst(2).split(separator: "  ")[0].split(separator: ",").flatMap {
        $0.split(separator: " ").filter { $0.hasPrefix("-") }.map(String.init)
      }
    }
  }

  private func roff(_ words: String) -> String { words.replacing("-", with: "\\-") }

  @Test("every subcommand and every option of --help is in its page, and in the completions of every shell")
  func everythingIsThere() throws {
    let verbs = try subcommands()
    #expect(verbs.count > 30)
    let main = try output(["man"])
    let shells = try ["bash", "zsh", "fish"].map { ($0, try output(["completion", $0])) }
    for verb in verbs {
      #expect(main.contains(roff("qatlas-\(verb)(1)")), "\(verb) is not in the main page")
      let page = try output(["man", verb])
      let words = try options(verb)
      #expect(words.contains("--help"))
      for (shell, script) in shells {
        let part = completions(script, shell, verb)
        #expect(!part.isEmpty, "\(verb) in \(shell)")
        for word in words { #expect(offers(part, shell, word), "\(shell): \(verb) \(word)") }
      }
      for word in words {
        #expect(page.contains("\\fB" + roff(word)) || page.contains(", " + roff(word)), "\(verb) \(word)")
      }
    }
    let known = try options("explore")
    for word in known { #expect(main.contains(roff(word)), "explore \(word) is not in the main page") }
  }

  /// The part of a script that is about one subcommand.
  private func completions(_ script: String, _ shell: String, _ verb: String) -> String {
    if shell == "fish" {
      return script.split(separator: "\n").filter { $0.contains("\"qatlas \(verb)\"") }.joined(
        separator: "\n")
    }
    guard let start = script.range(of: "\n_qatlas_\(verb)() {"),
      let end = script.range(of: "\n}", range: start.upperBound..<script.endIndex)
    else { return "" }
    return String(script[start.upperBound..<end.lowerBound])
  }

  private func offers(_ part: String, _ shell: String, _ word: String) -> Bool {
    let name = word.drop { $0 == "-" }
    switch shell {
    case "fish":
      let letter = word.hasPrefix("--") ? "l" : name.count > 1 ? "o" : "s"
      return part.contains("-\(letter) '\(name)'")
    default:
      let separators = CharacterSet(charactersIn: " ()'[{},\n=+:*")
      return part.components(separatedBy: separators).contains(word)
    }
  }

  @Test("the explorer's part has every command, every key of every context and every lens")
  func explorer() throws {
    let page = try output(["man"])
    for spec in CommandTable.all {
      #expect(page.contains("\\fB" + roff(spec.usage)), "\(spec.usage)")
    }
    let bold = page.split(separator: "\n").filter { $0.hasPrefix("\\fB") }
      .flatMap { $0.dropFirst(3).replacing("\\fR", with: "").split(separator: " ") }
    let terms = Set(bold.map(String.init))
    for context in Context.allCases {
      for spec in CommandTable.all {
        for key in KeyMap.standard.keys(for: spec.id, in: context) {
          let name = escaped(key.notation)
          #expect(terms.contains(name), "\(name) of \(spec.id) in \(context)")
        }
      }
    }
    for lens in Lens.allCases { #expect(page.contains("\\fB\(roff(lens.name))\\fR"), "\(lens.name)") }
  }

  private func escaped(_ name: String) -> String {
    let special: [Character: String] = [
      "\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti",
    ]
    return name.map { special[$0] ?? String($0) }.joined()
  }

  @Test("the formatters that are installed find nothing wrong in any page")
  func formatters() throws {
    let folder = try TemporaryDirectory()
    _ = try output(["man", "--all", folder.path])
    let pages = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
    #expect(pages.count == (try subcommands().count) + 1 && pages.contains("qatlas.1"))
    for page in pages {
      let path = folder.path + "/" + page
      let text = try String(contentsOfFile: path, encoding: .utf8)
      #expect(text.hasPrefix(".\\\"") && text.utf8.allSatisfy { $0 < 0x80 })
      if (try? requireTool("man")) != nil, (try? requireTool("groff")) != nil {
        let shown = try TestSupport.run(
          "man", ["-l", "--warnings", "-Tutf8", path], environment: testEnvironment(["MANWIDTH": "80"]))
        #expect(shown.status == 0 && shown.stderr.isEmpty, "\(page): \(shown.stderr)")
        #expect(shown.stdout.contains(page.dropLast(2).uppercased() + "(1)"), "\(page)")
      }
      if (try? requireTool("mandoc")) != nil {
        let told = try TestSupport.run("mandoc", ["-Tlint", "-Wwarning", path])
        #expect(told.status == 0, "\(page): \(told.stdout)\(told.stderr)")
      }
    }
    let missing = try TestSupport.run(try builtProduct("qatlas"), ["man", "nothing"])
    #expect(missing.status == 1 && missing.stderr.contains("there is no page about 'nothing'"))
  }

  /// What bash offers at the end of a line.
  private func bash(_ words: [String], in folder: String) throws -> [String] {
    let script = """
      source "$1"; shift
      COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
      read -ra spec < <(complete -p qatlas)
      "${spec[-2]}" qatlas "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
      printf '%s\\n' "${COMPREPLY[@]}"
      """
    let result = try TestSupport.run(
      "bash", ["--norc", "-c", script, "bash", folder + "/completions"] + words, directory: folder)
    #expect(result.stderr.isEmpty, "\(words): \(result.stderr)")
    return result.stdout.split(separator: "\n").map(String.init)
  }

  private func folder(for shell: String) throws -> TemporaryDirectory {
    let folder = try TemporaryDirectory()
    try output(["completion", shell]).write(
      toFile: folder.path + "/completions", atomically: true, encoding: .utf8)
    try "".write(toFile: folder.path + "/disk one.qcow2", atomically: true, encoding: .utf8)
    try "".write(toFile: folder.path + "/info.raw", atomically: true, encoding: .utf8)
    return folder
  }

  @Test("bash completes subcommands, options, words that a value may be, and files")
  func bashCompletes() throws {
    let folder = try folder(for: "bash")
    func offered(_ words: String...) throws -> [String] { try bash(["qatlas"] + words, in: folder.path) }
    #expect(try offered("re").sorted() == ["rebase", "rehydrate", "resize"])
    #expect(try offered("di").sorted() == ["diff", "discards", "disk one.qcow2"])
    #expect(try offered("inf").sorted() == ["info", "info.raw"])
    #expect(try offered("--r").sorted() == ["--replay", "--ro", "--rw"])
    #expect(try offered("--color", "").sorted() == ["always", "auto", "never"])
    #expect(try offered("--ro", "disk").sorted() == ["disk one.qcow2"])
    #expect(try offered("convert", "-O", "").sorted() == ["qcow2", "raw"])
    #expect(try offered("convert", "--sp") == ["--sparse-size"])
    #expect(try offered("convert", "info.raw", "di") == ["disk one.qcow2"])
    #expect(try offered("create", "-o", "clu") == ["cluster_size="])
    #expect(try offered("check", "-r", "l") == ["leaks"])
    #expect(try offered("lesson", "fir") == ["first-write"])
    #expect(try offered("man", "sal") == ["salvage"])
    #expect(try offered("completion", "").sorted() == ["bash", "fish", "zsh"])
    #expect(try offered("step", "disk one.qcow2", "--js") == ["--json"])
  }

  @Test("fish completes the same, where it is installed")
  func fishCompletes() throws {
    guard (try? requireTool("fish")) != nil else { return }
    let folder = try folder(for: "fish")
    func offered(_ line: String) throws -> [String] {
      let result = try TestSupport.run(
        "fish", ["--no-config", "-c", "source completions; complete -C '\(line)'"],
        environment: testEnvironment(["HOME": folder.path]), directory: folder.path)
      return result.stdout.split(separator: "\n").map {
        $0.split(separator: "\t").first.map(String.init) ?? ""
      }
    }
    #expect(
      try offered("qatlas re").filter { $0.hasPrefix("re") }.sorted() == ["rebase", "rehydrate", "resize"])
    #expect(try offered("qatlas --r").sorted() == ["--replay", "--ro", "--rw"])
    #expect(try offered("qatlas di").sorted() == ["diff", "discards", "disk one.qcow2"])
    #expect(try offered("qatlas --ro di").sorted() == ["disk one.qcow2"])
    #expect(try offered("qatlas convert -O ").sorted() == ["qcow2", "raw"])
    #expect(try offered("qatlas convert --sp") == ["--sparse-size"])
    #expect(try offered("qatlas lesson fir") == ["first-write"])
  }

  @Test("zsh completes the same, where it is installed")
  func zshCompletes() throws {
    guard (try? requireTool("zsh")) != nil else { return }
    let folder = try folder(for: "zsh")
    func screen(_ line: String, until expected: String) throws {
      let session = try PtySession(
        "zsh", ["-f"],
        environment: testEnvironment(["HOME": folder.path, "ZDOTDIR": folder.path, "PS1": "> "]))
      session.send("cd '\(folder.path)'; autoload -U compinit; compinit -u -D; source completions; ")
      session.send("clear; echo rea''dy\r")
      try session.waitFor("ready", timeout: 30)
      session.send(line + "\t")
      try session.waitFor(expected, timeout: 30)
    }
    try screen("qatlas rebas", until: "qatlas rebase")
    try screen("qatlas convert --spar", until: "--sparse-size")
    try screen("qatlas convert -O qc", until: "-O qcow2")
    try screen("qatlas disk", until: "disk\\ one.qcow2")
    try screen("qatlas --ro disk", until: "--ro disk\\ one.qcow2")
  }
}
