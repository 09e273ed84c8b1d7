// `qatlas check`: is the image sound? Findings go to the error stream while they are made, the summary to
// standard output; the exit code says how bad it is. With `-r` the image is repaired first.

import ArgumentParser
import Cartography
import Explorer
import Glibc
import Qcow
import QcowFormat
import Storage
import ToolText

struct CheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Check an image for damage and leaked clusters, and repair it if asked to.",
    discussion: """
      With -r leaked clusters that hold data keep their count and are named: they may be the last copy of a part \
      of the disk. qemu-img gives them back, and so does --drop-leaks.

      Exit codes: 0 sound, 1 the check failed, 2 damaged, 3 only leaked clusters, 63 not an image that can be \
      checked. Lines that start with "note:" tell what qemu-img check does not look at. With \
      --details lines that start with "group:" say by kind what the findings mean and what a repair does about them.
      """)

  @Option(
    name: [.customShort("f", allowingJoined: true), .customLong("format")],
    help: "The format, qcow2. Found out if not given.", completion: .formats)
  var format: String?
  @OptionGroup var output: OutputOptions
  @Flag(name: [.customShort("q"), .customLong("quiet")], help: "Print no summary and no notes.") var quiet =
    false
  @Flag(help: "Tell place, owners and guest range of every finding.") var details = false
  @Flag(help: "With --details: tell all findings, not only the first 1000.") var all = false
  @OptionGroup var word: ImageWord
  @Option(
    name: [.customShort("r", allowingJoined: true), .customLong("repair")],
    help: "Repair first: leaks, or all for refcounts, flags and the snapshot table as well.",
    completion: .list(["leaks", "all"]))
  var repair: String?
  @Flag(name: .customLong("drop-leaks"), help: "With -r: give leaked clusters back although they hold data.")
  var dropsLeaks = false
  @Flag(name: .customLong("dry-run"), help: "With -r: tell what would be done and write nothing.")
  var isDry = false
  @Option(
    name: [.customShort("T", allowingJoined: true), .customLong("source-cache"), .customLong("cache")],
    help: "Accepted for scripts; has no effect.", completion: .cacheModes)
  var sourceCache: String?
  @OptionGroup var share: ShareFlag
  @OptionGroup var unlock: UnlockOptions
  @Argument(help: "The image file.", completion: .file()) var image: String

  func run() throws {
    let streams = repair == nil ? Streams() : Streams(loss: .isKept)
    defer { streams.flush() }
    try checkOptions(streams)
    let request = try Opening.request(image, format, isOptions: word.isOptions, nil, share, streams)
    let format = request.format?.rawValue ?? format
    let opened: ImageOpening.Opened
    var options = Image.Options()
    do throws(Opening.Refusal) {
      var opening = request.opening(format)
      opening.options.writable = repair != nil
      opening.isScratch = isDry
      opening.reach = .file
      opening.policy.allowsOutside = opening.policy.allowsOutside || Tool.isStandIn
      var secret: Secret?
      opening.secret = { file throws(ImageError) in
        secret = try unlock.needed(request, for: file)
        return secret
      }
      opened = try Opening.open(opening, streams)
      options.secret = secret
    } catch { throw Opening.failure(image, error, streams) }
    if let refusal = refusal(opened.file, format) {
      if repair != nil, format == nil, refusal.isGenuine { streams.error(Opening.guessed(image)) }
      _ = streams.failure(refusal.text)
      throw ExitCode(63)
    }
    let code = try check(opened, options, streams)
    if code != 0 { throw ExitCode(code) }
    try streams.end()
  }

  private func checkOptions(_ streams: Streams) throws {
    try output.check(streams, of: "check")
    if let repair, RepairScope(rawValue: repair) == nil {
      throw streams.failure(
        "--repair (-r) expects 'leaks' or 'all', not '\(Escaping.human(repair))'",
        hint: "Try '\(Tool.name) check --help' for more information\n")
    }
    guard repair != nil || !(dropsLeaks || isDry) else {
      throw streams.failure("--drop-leaks and --dry-run go with -r")
    }
    let modes = ["none", "off", "writeback", "unsafe", "writethrough", "directsync"]
    if let sourceCache, !modes.contains(sourceCache) {
      throw streams.failure("Invalid source cache option: \(Escaping.human(sourceCache))")
    }
    try unlock.checkObjects(streams)
  }

  /// Why the file is nothing that can be checked; nil if it may be.
  private func refusal(_ storage: any Storage, _ format: String?) -> (text: String, isGenuine: Bool)? {
    if format == "qcow2" { return nil }
    guard let name = format ?? (try? FileFormat.name(of: storage)), name != "qcow2" else { return nil }
    // Of these the genuine tool says the same.
    if ["raw", "qcow", "vpc"].contains(name) { return ("This image format does not support checks", true) }
    return ("the file has the format '\(name)', which this program cannot check, only qcow2", false)
  }

  /// Findings that are told with their details unless all are asked for.
  private static let shownFindings = 1000

  private func check(
    _ opened: ImageOpening.Opened, _ options: Image.Options, _ streams: Streams
  ) throws -> Int32 {
    let storage = opened.storage
    let collects = details && output.isJSON && !all
    let streamed = details && output.isJSON && all && !quiet ? FindingStream(streams) : nil
    var findings: [CheckFinding] = []
    var told = 0
    let limit = details && !all ? Self.shownFindings : Int.max
    let lines = FindingLines(streams)
    let showsDetails = details || isDry
    // Of the last check: a repair tells what it has found and not what is left.
    var groups: DamageGroups?
    func take(_ finding: CheckFinding, _ text: String) {
      told += 1
      guard told <= limit else { return }
      streamed?.add(finding)
      lines.add(text)
      if showsDetails { lines.add(CheckText.details(of: finding)) }
      if collects { findings.append(finding) }
    }
    func begin(telling: Bool = true) throws -> ImageCheck {
      do throws(ImageError) {
        return try ImageCheck(storage, namesOwners: details) { finding in
          if details { groups?.add(finding) }
          if telling { take(finding, CheckText.lines(of: finding, program: Tool.name)) }
        }
      } catch {
        throw streams.failure(
          "Could not open '\(Escaping.human(image))': \(Escaping.human(error.description))")
      }
    }
    var check = try begin()
    groups = DamageGroups(check.header.geometry)
    if let word = check.unknownBackingFormat {
      throw streams.failure(
        "Could not open '\(Escaping.human(image))': Could not open backing file: Unknown driver '\(Escaping.human(word))'"
      )
    }
    if check.hasStaleBitmaps { streams.error(CheckText.staleBitmaps(program: Tool.name)) }
    var result: CheckResult
    let work = repair.flatMap(RepairScope.init(rawValue:)).map { scope in
      Repair(scope, dropsLeaks: dropsLeaks || Tool.isStandIn).begin(
        on: storage, namesOwners: showsDetails,
        open: { table throws(ImageError) in try Self.open(opened, options, table) },
        report: { step in
          let text = CheckText.lines(of: step, program: Tool.name)
          if case .found(let finding) = step { take(finding, text) } else { lines.add(text) }
        })
    }
    if let work {
      do throws(ImageError) { result = try work.run() } catch {
        lines.flush()
        throw streams.failure(
          "Could not repair '\(Escaping.human(image))': \(Escaping.human(error.description))")
      }
      lines.flush()
      if !quiet && !output.isJSON { streams.output(CheckText.repaired(result)) }
      // The genuine tool looks twice at what it has changed.
      let isChanged = result.corruptionsFixed > 0 || result.leaksFixed > 0
      if isChanged || !Tool.isStandIn {
        check = try begin(telling: isChanged)
        groups = DamageGroups(check.header.geometry)
        var second = check.run()
        second.corruptionsFixed = result.corruptionsFixed
        second.leaksFixed = result.leaksFixed
        if isChanged { result = second }
      }
    } else {
      result = check.run()
    }
    let more = told - min(told, limit)
    if more > 0 { lines.add("note: and \(more) more findings; --all tells them all\n") }
    var notes: [CheckNote] = []
    // Nobody expects them of the genuine tool.
    if !quiet && !Tool.isStandIn {
      check.notes { note in
        if work != nil, case .repair = note { return }
        notes.append(note)
        if details { groups?.add(note) }
        lines.add("note: \(CheckText.text(of: note))\n")
      }
      if work?.kept != nil {
        lines.add("note: it keeps its count; with --drop-leaks it is given back and lost\n")
      }
      if isDry { lines.add("note: nothing was written\n") }
    }
    if details, result.failure == nil {
      groups?.sortLeaks { check.holdsData($0) ?? true }
      if !quiet, !output.isJSON, let groups { lines.add(DamageText.human(groups)) }
    }
    lines.flush()
    if result.failure == nil && !quiet {
      if !output.isJSON {
        streams.output(CheckText.human(result))
      } else {
        let details =
          details
          ? groups.map {
            CheckText.Details(findings: collects ? findings : nil, more: more, notes: notes, groups: $0)
          } : nil
        let report = CheckText.report(result, fileName: image, details: details)
        if let streamed { streamed.end(report) } else { streams.output(ReportValue.object(report).json()) }
        streams.output("\n")
      }
    }
    if let failure = CheckText.failure(result) { _ = streams.failure(failure) }
    if let work, result.failure == nil {
      do throws(ImageError) { try work.finish() } catch {
        throw streams.failure(Escaping.human(error.description))
      }
    }
    return CheckText.exitCode(result)
  }

  /// The image for itself, with what its bitmaps need: its data file and its passphrase.
  private static func open(
    _ opened: ImageOpening.Opened, _ given: Image.Options, _ snapshots: SnapshotTable?
  ) throws(ImageError) -> Image {
    var options = given
    options.writable = true
    options.cache = .writeback
    options.repairsDirty = false
    options.standsAlone = true
    options.snapshots = snapshots
    return try opened.chain.openImage(on: opened.storage, options)
  }
}

/// Collects lines for the error stream, which may be millions.
private final class FindingLines {
  private let streams: Streams
  private var pending = ""

  init(_ streams: Streams) { self.streams = streams }

  func add(_ text: String) {
    pending += text
    if pending.utf8.count >= 1 << 14 { flush() }
  }

  func flush() {
    guard !pending.isEmpty else { return }
    streams.error(pending)
    pending = ""
  }
}

/// Writes the findings of a JSON report while they are made, so that no list of them has to be kept.
private final class FindingStream {
  private var stream: ReportStream
  private var isFirst = true

  init(_ streams: Streams) { stream = ReportStream(json: true, output: streams.output) }

  func add(_ finding: CheckFinding) {
    if isFirst {
      stream.open("{\n    ", between: ",\n    ")
      stream.open("[\n        ", "findings", between: ",\n        ")
    }
    isFirst = false
    stream.add(nil, CheckText.report(of: finding), indent: 8)
  }

  /// Ends the list; `report` is the rest, an object.
  func end(_ report: [Field]) {
    guard !isFirst else { return stream.add(nil, .object(report), indent: 0) }
    stream.close("\n    ]")
    for member in report { stream.add(member.name, member.value, indent: 4) }
    stream.close("\n}")
  }
}
