// `qatlas-bench`: races qatlas against the genuine tools, and against an earlier build of itself, on the same
// files in one run. Figures are medians of pairs, so that a machine whose speed drifts does not favour either side.

import ArgumentParser
import Glibc

@main
struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "qatlas-bench", abstract: "Race qatlas against qemu-img and qemu-io.",
    discussion: """
      Needs qemu-utils; counts flushes with strace where that is installed. Every race is run against each \
      judge, and a target counts as met only if it is met against all of at least two. With --before every race \
      is also run against an earlier build. --growth tells how time grows with the size, --instructions how many \
      instructions the hottest paths take (with valgrind).
      """)

  @Argument(help: "Races to run; all of them without any.") var names: [String] = []
  @Option(help: "Pairs that count.") var pairs = 5
  @Option(help: "Where the files go; 16 GiB are needed.") var folder = "/var/tmp"
  @Option(help: "The qatlas to race; beside this program if not given.") var qatlas: String?
  @Option(help: ArgumentHelp("An earlier build of qatlas to race against.", valueName: "program"))
  var before: String?
  @Option(
    name: .customLong("judge"),
    help: ArgumentHelp(
      "A folder with qemu-img and qemu-io, as Tests/judges prints it; several are possible. Those in PATH if not given.",
      valueName: "folder"))
  var judges: [String] = []
  @Flag(help: "List the races.") var list = false
  @Flag(help: "Run at 1/8, 1 and 8 times the size instead, and tell the exponent.") var growth = false
  @Option(
    help: ArgumentHelp("Compare counts of instructions with those in a file instead.", valueName: "file"))
  var instructions: String?
  @Flag(help: "With --instructions: write the file.") var record = false

  func validate() throws {
    guard pairs >= 1 else { throw ValidationError("--pairs must be at least 1") }
    let known = RaceList.all(.full).map(\.name)
    for name in names where !known.contains(name) {
      throw ValidationError("there is no race '\(name)'; --list shows them")
    }
  }

  func run() throws {
    let races = RaceList.all(.full).filter { names.isEmpty || names.contains($0.name) }
    if list {
      for race in races { print(Table.padded(race.name, 30) + race.purpose) }
      return
    }
    var template = Array("\(folder)/qatlas-bench-XXXXXX".utf8CString)
    guard unsafe mkdtemp(&template) != nil else { throw BenchError("cannot make a folder in \(folder)") }
    let made = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    var found: [Judge] = []
    for folder in judges.isEmpty ? [nil] : judges.map(Optional.some) {
      found.append(try Judge(folder: folder, scratch: made + "/version"))
    }
    guard let judge = found.last else { return }
    let lab = Lab(folder: made, qatlas: qatlas ?? Self.sibling("qatlas"), judge: judge)
    defer {
      try? lab.clear()
      unsafe rmdir(made)
    }
    if let instructions {
      guard try Instructions.compare(lab, with: instructions, names: names, records: record) else {
        throw ExitCode(1)
      }
    } else if growth {
      try grow(races, lab)
    } else {
      try race(races, lab, found)
    }
  }

  private func race(_ races: [Race], _ lab: Lab, _ judges: [Judge]) throws(BenchError) {
    Table.show(Table.heading)
    for race in races {
      let opponents = race.opponents(judges: judges, before: before)
      guard !opponents.isEmpty else {
        Table.show(
          Table.padded(race.name, 30) + "no genuine tool does this; give an earlier build with --before")
        continue
      }
      try lab.clear()
      try race.prepare(lab)
      var results: [Result] = []
      for opponent in opponents {
        var here = lab
        if let judge = judges.first(where: { $0.name == opponent.name }) { here.judge = judge }
        let result = try opponent.run(race, here, pairs: pairs)
        Table.show(Table.line(result))
        for note in result.notes { Table.show("    \(note)") }
        results.append(result)
      }
      for verdict in Table.verdicts(results) { Table.show("    \(verdict)") }
    }
  }

  private func grow(_ races: [Race], _ lab: Lab) throws(BenchError) {
    Table.show(Table.padded("race", 30) + Table.padded("1/8, 1, 8 times: processor s", 36) + "exponent")
    // What starts a process has no size.
    for race in races where race.repeats == 1 {
      let growth = try Growth.of(race.name, lab, largest: Growth.scales.count)
      Table.show(
        Table.padded(race.name, 30)
          + Table.padded(growth.seconds.map(Table.number).joined(separator: ", "), 36)
          + (growth.exponent.map(Table.number) ?? "too fast to tell"))
    }
  }

  /// A program in the same folder as this one.
  private static func sibling(_ name: String) -> String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = unsafe readlink("/proc/self/exe", &buffer, buffer.count - 1)
    let path = String(decoding: buffer.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
      + "/" + name
  }
}
