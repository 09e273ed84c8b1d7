// `qatlas fleet`: many images, one line each, for databases and scripts.

import ArgumentParser
import Cartography
import Explorer
import Glibc
import Live
import Qcow
import Storage
import ToolText

struct FleetCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fleet", abstract: "Look at many images and print a line of JSON for each.",
    discussion: """
      A folder stands for all files below it; symbolic links in it are not followed. Of the files of a folder those \
      that begin as qcow2 images do have a line, and those whose name ends in .qcow2; --all-files tells of the others \
      too. Files that are named always have a line. Lines come in the order of the bytes of the names. A file that \
      cannot be opened or is damaged says why in "error", and nothing stops for it.

      With --resume FILE lines are added to FILE, and an image is looked at again only if it, a layer below it or its \
      data file has changed since its line; lines of files below the folders that are gone are dropped. Started again \
      after a kill it goes on; at the end every image has one line. A file outside of the folder of the image that \
      names it is told by its name and not opened, unless --trust or --allow-outside lets it in. Images that another \
      program writes are looked at without a check.

      With --browse the images are a list in the explorer, which grows as they are looked at: it is put in order by any \
      column, shows only those with errors, leaks or a text, and opens any of them as 'qatlas IMAGE' does.

      The figures are those of info, ladder, layout, frag and check: tables are read, and no data. Exit codes: 0 every \
      file has its line, whatever it says; 1 something could not be read or written.
      """)

  @Option(
    help: ArgumentHelp(
      "Read names from a file, each ended by a zero byte or, if there is none, by a line end; - is standard input.",
      valueName: "file"), completion: .file())
  var from: String?
  @Option(
    help: ArgumentHelp(
      "Only a share of the images, i of n: always the same one, by the name. n machines with the same names share the work.",
      valueName: "i/n"))
  var shard: String?
  @Option(
    name: [.customShort("o"), .customLong("output")],
    help: ArgumentHelp("Write the lines to a new file.", valueName: "file"), completion: .file())
  var outputFile: String?
  @Option(
    help: ArgumentHelp("Go on with the lines in this file, or begin it.", valueName: "file"),
    completion: .file())
  var resume: String?
  @Option(
    name: [.customShort("j"), .long],
    help: ArgumentHelp(
      "Images at a time: as many as there are cores, 32 with remote ones.", valueName: "number"))
  var jobs: Int?
  @Flag(name: .customLong("all-files"), help: "Tell of all files of a folder, images or not.") var allFiles =
    false
  @Flag(help: "Show the images as a list in the explorer, and any of them as an atlas.") var browse = false
  @OptionGroup var chain: ChainFlags
  @Argument(help: "Images and folders; - reads names from standard input.", completion: .file()) var paths:
    [String] =
      []

  func validate() throws {
    if paths.isEmpty, from == nil {
      throw ValidationError("name images, folders, or a list of them with --from")
    }
    if outputFile != nil, resume != nil { throw ValidationError("--output and --resume exclude each other") }
    if browse, outputFile != nil || resume != nil {
      throw ValidationError("--browse writes no lines; it excludes --output and --resume")
    }
    if let jobs, !(1...1024).contains(jobs) { throw ValidationError("--jobs takes 1 to 1024") }
    if shard != nil, share == nil { throw ValidationError("--shard takes i/n with i from 1 to n") }
  }

  /// The share that was asked for, from 1.
  private var share: (index: UInt64, count: UInt64)? {
    let parts = shard?.split(separator: "/", omittingEmptySubsequences: false).map { UInt64($0) } ?? []
    guard parts.count == 2, let index = parts[0], let count = parts[1], index >= 1, index <= count else {
      return nil
    }
    return (index, count)
  }

  func run() throws {
    let streams = Streams(loss: resume == nil && outputFile == nil ? .ends : .isKept)
    defer { streams.flush() }
    let names = try names(streams)
    if browse {
      var explore = try Explore.parse([])
      explore.opening.chain = chain
      let options = HostFleet.Options(policy: chain.policy, showsAll: allFiles, jobs: jobs, share: share)
      return try explore.run(fleet: HostFleet(names, options))
    }
    let file: FleetFile?
    do throws(StorageError) {
      file = try (resume ?? outputFile).map { name throws(StorageError) in
        try FleetFile(name, isNew: resume == nil)
      }
    } catch { throw Opening.failure(resume ?? outputFile ?? "", Opening.Refusal(error), streams) }
    do throws(StorageError) { try look(at: names, file, streams) } catch {
      throw streams.failure(Escaping.human(error.description))
    }
    try streams.end()
    if names.isCut {
      throw streams.failure("there are more files than a fleet can have; the rest was left out")
    }
  }

  /// The names that were asked for, in order.
  private func names(_ streams: Streams) throws -> FleetNames {
    var names = FleetNames()
    for path in paths + (from == "-" ? ["-"] : []) {
      if path != "-" {
        names.add(path)
      } else if !names.addInput() {
        throw streams.failure("the names on standard input cannot be read")
      }
    }
    if let from, from != "-" {
      do throws(StorageError) { try names.add(listFile: from) } catch {
        throw Opening.failure(from, Opening.Refusal(error), streams)
      }
    }
    names.settle(share: share)
    return names
  }

  private func look(at fleet: FleetNames, _ file: FleetFile?, _ streams: Streams) throws(StorageError) {
    let policy = chain.policy
    var wanted = fleet.names
    var unchanged = 0
    if let file {
      var kept: [FleetNames.Name] = []
      for name in wanted {
        if name.problem == nil, try file.line(of: name.path)?.holds(policy) == true {
          unchanged += 1
        } else {
          kept.append(name)
        }
      }
      dropGone(file, fleet)
      wanted = kept
    }
    let crew = FleetCrew.looking(at: wanted, policy, showsAll: allFiles)
    do throws(ServerError) { try crew.start(jobs ?? FleetCrew.jobs(for: fleet)) } catch {
      throw StorageError(.open, name: "fleet", errno: error.errno, detail: error.what)
    }
    var (looked, failed) = (0, 0)
    try crew.each { (index, row) throws(StorageError) in
      guard let row else {
        // It was an image, and is none any more.
        file?.drop(wanted[index].path)
        return
      }
      looked += 1
      if row.error != nil { failed += 1 }
      let line = FleetText(row).line
      guard let file else {
        streams.output(line + "\n")
        return streams.flush()
      }
      try file.append(line, of: row.path)
    }
    guard let file else { return }
    try file.finish()
    streams.output(
      "\(counted(UInt64(looked), "file")) looked at, \(unchanged) unchanged, \(failed) with an error\n")
  }

  /// Lines of files below the folders that are not there any more, and that are of this share.
  private func dropGone(_ file: FleetFile, _ fleet: FleetNames) {
    let share = share
    let present = Set(fleet.names.map { ByteText.bytes($0.path) })
    for name in file.names {
      let bytes = ByteText.bytes(name)
      guard !present.contains(bytes), fleet.folders.contains(where: { ByteText.starts(name, with: $0) })
      else {
        continue
      }
      if let share, FleetNames.share(of: bytes, count: share.count) != share.index { continue }
      if (try? HostFile.find(name)) == nil { file.drop(name) }
    }
  }
}

extension FleetCrew {
  /// A crew for images by name. Of those found in folders only images have a row, unless it shows all. What is
  /// `known` by the bytes of its name and has not changed stays as it is.
  static func looking(
    at names: [FleetNames.Name], _ policy: ChainPolicy, showsAll: Bool, known: [[UInt8]: FleetRow] = [:],
    tells: @escaping @Sendable () -> Void = {}
  ) -> FleetCrew {
    FleetCrew(
      names.count,
      look: { index in
        let name = names[index]
        if let problem = name.problem { return FleetRow(name.path, error: problem) }
        if let row = known[ByteText.bytes(name.path)], row.holds(policy) { return row }
        let row = FleetSurvey.row(of: name.path, policy)
        guard !name.isGiven, !showsAll, row.format != nil, !row.isImage else { return row }
        return name.path.utf8.suffix(6).elementsEqual(".qcow2".utf8) ? row.lackingHeader : nil
      }, tells: tells)
  }

  /// How many images at a time are worth it.
  static func jobs(for fleet: FleetNames) -> Int {
    fleet.hasRemote ? 32 : max(1, min(64, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
  }
}
