// `qatlas-bench`: races qatlas against the genuine tools on the same files in one run. Figures are
// medians of pairs, so that a machine whose speed drifts does not favour either side.

import ArgumentParser
import Glibc

@main
struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "qatlas-bench", abstract: "Race qatlas against qemu-img and qemu-io.",
    discussion: """
      Needs qemu-utils; counts flushes with strace where that is installed. Every race is run against each \
      judge, and a target counts as met only if it is met against all of at least two.
      """)

  static var races: [Race] {
    [
      .overlay(extended: false, cache: "writeback", target: 1.5),
      .overlay(extended: true, cache: "writeback", target: 1.5),
      .overlay(extended: false, cache: "writethrough", target: 1.0),
      .overlay(extended: true, cache: "writethrough", target: 1.0),
      .sequentialRead, .sequentialWrite, .randomRead, .map, .check, .pinnedWrites, .pinnedRead, .defrag,
      .toImage, .toRaw, .chain,
      .compression("zlib", isFast: false), .compression("zstd", isFast: false),
      .compression(nil, isFast: true), .compression("zlib", isFast: true), .compression("zstd", isFast: true),
      .commit, .rebase, .checkSnapshots, .snapshot("c", "create"), .snapshot("d", "delete"), .measure,
    ] + Race.compressedReads
  }

  @Argument(help: "Races to run; all of them without any.") var names: [String] = []
  @Option(help: "Pairs that count.") var pairs = 5
  @Option(help: "Where the files go; 16 GiB are needed.") var folder = "/var/tmp"
  @Option(help: "The qatlas to race; beside this program if not given.") var qatlas: String?
  @Option(
    name: .customLong("judge"),
    help: ArgumentHelp(
      "A folder with qemu-img and qemu-io, as Tests/judges prints it; several are possible. Those in PATH if not given.",
      valueName: "folder"))
  var judges: [String] = []
  @Flag(help: "List the races.") var list = false

  func validate() throws {
    guard pairs >= 1 else { throw ValidationError("--pairs must be at least 1") }
    for name in names where !Self.races.contains(where: { $0.name == name }) {
      throw ValidationError("there is no race '\(name)'; --list shows them")
    }
  }

  func run() throws {
    if list {
      for race in Self.races { print("\(Self.padded(race.name, 30))\(race.purpose)") }
      return
    }
    var template = Array("\(folder)/qatlas-bench-XXXXXX".utf8CString)
    guard unsafe mkdtemp(&template) != nil else { throw BenchError("cannot make a folder in \(folder)") }
    let made = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { _ = try? Invocation("rm", ["-rf", made]).run() }
    var found: [Judge] = []
    for folder in judges.isEmpty ? [nil] : judges.map(Optional.some) {
      found.append(try Judge(folder: folder, scratch: made + "/version"))
    }
    print("\(Self.padded("race", 30))\(Self.padded("judge", 16))genuine s   qatlas s   ratio  (pairs)")
    for race in Self.races where names.isEmpty || names.contains(race.name) {
      var results: [Result] = []
      for judge in found {
        let lab = Lab(folder: made, qatlas: qatlas ?? Self.sibling("qatlas"), judge: judge)
        let result = try race.run(lab, pairs: pairs)
        print(Self.line(result))
        for note in result.notes { print("    \(note)") }
        fflush(nil)
        results.append(result)
      }
      print("    \(Self.verdict(results, target: race.target))")
      fflush(nil)
    }
  }

  private static func line(_ result: Result) -> String {
    let ratios = result.ratios
    return padded(result.race.name, 30) + padded(result.judge, 16)
      + number(Result.median(result.genuine.map(\.wall))) + "       "
      + number(Result.median(result.ours.map(\.wall))) + "      "
      + "\(number(result.ratio))  (\(number(ratios.min() ?? 0))-\(number(ratios.max() ?? 0)))   "
      + "memory \(result.genuine.map(\.memory).max() ?? 0) and "
      + "\(result.ours.map(\.memory).max() ?? 0) KiB"
  }

  /// What the results together say; one version alone says nothing about QEMU.
  private static func verdict(_ results: [Result], target: Double) -> String {
    let versions = Set(results.map(\.judge))
    guard versions.count > 1, let least = results.min(by: { $0.ratio < $1.ratio }) else {
      return "target \(target): no verdict over one version; give another with --judge"
    }
    let word = least.ratio >= target ? "met" : "missed"
    return "target \(target) \(word): the least ratio is \(number(least.ratio)), over \(least.judge)"
  }

  /// Three digits behind the point.
  private static func number(_ value: Double) -> String {
    let thousandths = Int((value * 1000).rounded())
    let rest = String(thousandths % 1000)
    return "\(thousandths / 1000)." + String(repeating: "0", count: 3 - rest.count) + rest
  }

  private static func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(1, width - text.count))
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
