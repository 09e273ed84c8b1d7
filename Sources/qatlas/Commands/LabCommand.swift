// `qatlas lab`: one workload on several mapping policies, in memory, and what became of the order of the
// clusters.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import Storage
import ToolText

extension LabWorkload: ExpressibleByArgument {}

struct LabCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lab", abstract: "Run one workload on several mapping policies and compare the images.",
    discussion: """
      All images are made in memory and hold no data, so that large disks take little. The policies \
      keep-mapping and pinned run on a contiguous preallocated image, default on an empty one. Workloads: \
      \(LabWorkload.allCases.map { "\($0.rawValue) \($0.help)" }.joined(separator: "; ")).
      """)

  @Option(help: "What the guest does; 'boot' is a recorded one, with --trace your own.") var workload:
    LabWorkload?
  @Option(
    help: ArgumentHelp("The policies, with commas between.", valueName: "list"),
    completion: .list(MappingPolicy.allCases.map(\.rawValue)))
  var policy = MappingPolicy.allCases.map(\.rawValue).joined(separator: ",")
  @Option(help: "The size of the disk (64M, or what the trace says).") var size: String?
  @Option(name: .customLong("cluster-size"), help: "The cluster size.") var clusterSize = "64k"
  @Flag(name: .customLong("extended-l2"), help: "Extended L2 entries with subclusters.") var extendedL2 =
    false
  @Flag(help: "A full backing file below every image.") var backing = false
  @Flag(help: "A contiguous preallocated image for the policy default too.") var preallocated = false
  @Option(
    name: .customLong("discard-granularity"),
    help: ArgumentHelp("What discards act on: cluster (default) or subcluster.", valueName: "unit"))
  var discardGranularity = DiscardGranularity.cluster
  @Option(help: "How many requests; every workload has a usual number.") var operations: Int?
  @Option(help: "What the random numbers begin with.") var seed: UInt64 = 1
  @Option(help: "Points of the curves.") var samples = 50
  @Option(
    help: ArgumentHelp("The requests of 'boot': lines of 'qatlas io'.", valueName: "file"),
    completion: .file())
  var trace: String?
  @Flag(help: "Print one line per point and policy.") var csv = false
  @Flag(help: "Print JSON.") var json = false

  func validate() throws {
    guard !csv || !json else { throw ValidationError("--csv and --json cannot be used together") }
    guard workload != nil || trace != nil else {
      throw ValidationError(
        "--workload is missing; there are \(LabWorkload.allCases.map(\.rawValue).joined(separator: ", "))")
    }
  }

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    do throws(CommandError) {
      let lab = try Lab(try configuration())
      while try !lab.advance(to: lab.total, budgetNanoseconds: 1_000_000_000) {}
      let text = LabText(lab)
      streams.output(csv ? text.csv : json ? text.json : text.human)
    } catch { throw streams.failure(error.description) }
  }

  private func configuration() throws(CommandError) -> LabConfiguration {
    var lab = LabConfiguration(workload ?? .boot)
    lab.policies = try LabConfiguration.policies(policy)
    lab.clusterSize = try Quantity.bytes(clusterSize)
    lab.extendedL2 = extendedL2
    lab.hasBacking = backing
    lab.isPreallocated = preallocated
    lab.discardGranularity = discardGranularity
    lab.operations = operations
    lab.seed = seed
    lab.samples = samples
    if let size { lab.size = try Quantity.bytes(size) }
    if let trace {
      do throws(CommandError) {
        let text = try Self.text(trace)
        if size == nil, let said = LabTrace.size(of: text) { lab.size = said }
        lab.trace = try LabTrace.requests(text, size: lab.size)
      } catch {
        throw CommandError("trace '\(Escaping.human(trace))', \(error.description)")
      }
    } else if lab.workload == .boot {
      guard size == nil || lab.size >= LabTrace.exampleSize else {
        throw CommandError("the recorded guest needs a disk of \(Notation.human(LabTrace.exampleSize))")
      }
      lab.size = max(LabTrace.exampleSize, size == nil ? 0 : lab.size)
      lab.trace = LabTrace.example
    }
    return lab
  }

  private static func text(_ name: String) throws(CommandError) -> String {
    do throws(StorageError) {
      let file = try FileOpener().open(name, for: .text)
      guard file.length <= LabTrace.maximumBytes else {
        throw StorageError(.read, name: name, detail: "it is longer than 256 MiB")
      }
      return ByteText.text(try file.bytes(at: 0, count: Int(file.length)))
    } catch { throw CommandError(error.detail) }
  }
}
