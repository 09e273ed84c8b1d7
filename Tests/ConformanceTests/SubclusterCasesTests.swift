// The exhaustive cases of a window of three clusters: content against a raw twin, entries against the
// law of the format, refcounts against the references, and whole files against the genuine tool.

import EngineSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import Synchronization
import TestSupport
import Testing

/// How a session treats discards, and how the genuine tool is told so; nil if 7.2 cannot be.
struct WindowPolicy {
  var name: String
  var change: @Sendable (inout Image.Options) -> Void
  var genuine: String?

  static let all = [
    WindowPolicy(name: "default", change: { _ in }, genuine: "discard=unmap"),
    WindowPolicy(
      name: "discard=ignore",
      change: {
        $0.discard = .ignore; $0.passDiscardRequest = false
      },
      genuine: nil),
    WindowPolicy(
      name: "pass-discard-request=off", change: { $0.passDiscardRequest = false },
      genuine: "discard=unmap,pass-discard-request=off"),
    WindowPolicy(name: "discard-no-unref", change: { $0.discardNoUnref = true }, genuine: nil),
    WindowPolicy(
      name: "discards by subcluster", change: { $0.policies.discardGranularity = .subcluster }, genuine: nil),
    WindowPolicy(
      name: "keep-mapping, discards by subcluster",
      change: {
        $0.policies.mapping = .keepMapping; $0.policies.discardGranularity = .subcluster
      }, genuine: nil),
  ]
}

@Suite("Exhaustive windows", .tags(.genuine))
struct SubclusterCasesTests {
  private static let made = Mutex((cases: 0, compared: 0))

  @Test("every pair of states, operation and alignment", arguments: WindowImage.all.indices)
  func windows(_ index: Int) throws {
    for tool in ["qemu-img", "qemu-io"] { try requireTool(tool) }
    let image = WindowImage.all[index]
    let lab = try WindowLab(image)
    // Standard entries have no parts for a discard to act on.
    for policy in WindowPolicy.all where image.isExtended || !policy.name.hasSuffix("by subcluster") {
      let problems = try lab.run(policy)
      #expect(
        problems.isEmpty, "\(image.name), \(policy.name): \(problems.prefix(5).joined(separator: "\n"))")
      Self.made.withLock { $0.cases += image.cases.count }
      guard policy.genuine != nil else { continue }
      let difference = try lab.compare(policy)
      #expect(difference == nil, "\(image.name), \(policy.name): \(difference ?? "")")
      Self.made.withLock { $0.compared += image.cases.count }
    }
    let totals = Self.made.withLock { $0 }
    print("windows: \(totals.cases) cases so far, \(totals.compared) of them compared with the genuine tool")
  }
}

/// The files of one kind of image.
final class WindowLab {
  let image: WindowImage
  let folder: TemporaryDirectory
  /// What the guest sees after the preparation.
  private let prepared: RawTwin

  /// Makes the prepared image with the genuine tool, and checks that ours makes the same.
  init(_ image: WindowImage) throws {
    self.image = image
    folder = try TemporaryDirectory(inMemory: true)
    var options = ["cluster_size=\(WindowImage.clusterSize)"]
    if image.isExtended { options.append("extended_l2=on") }
    if image.isPreallocated { options.append("preallocation=metadata") }
    var twin = RawTwin([UInt8](repeating: 0, count: Int(image.size)))
    var arguments = ["create", "-q", "-f", "qcow2"]
    if image.hasBacking {
      // Bytes that differ from subcluster to subcluster; a part of it is a hole.
      var backing = [UInt8](repeating: 0, count: Int(image.size))
      for start in stride(from: 0, to: backing.count, by: 512) where start / 65536 % 7 != 3 {
        let byte = UInt8(start / 512 % 251 + 1)
        backing.replaceSubrange(start..<start + 512, with: repeatElement(byte, count: 512))
      }
      try Data(backing).write(to: URL(fileURLWithPath: folder.path("base.raw")))
      twin = RawTwin(backing)
      options += ["backing_file=base.raw", "backing_fmt=raw"]
    }
    arguments += ["-o", options.joined(separator: ","), folder.path("start.qcow2"), String(image.size)]
    try Self.must("qemu-img", arguments)
    try FileManager.default.copyItem(atPath: folder.path("start.qcow2"), toPath: folder.path("ours.qcow2"))
    for request in image.preparation {
      twin.apply(request, clusterSize: WindowImage.clusterSize, discards: true)
    }
    prepared = twin
    try genuine(image.preparation, "start.qcow2", nil)
    try ours(image.preparation, "ours.qcow2") { _ in }
    if image.hasSnapshot {
      try Self.must("qemu-img", ["snapshot", "-c", "s", folder.path("start.qcow2")])
      try withEngine("ours.qcow2", { $0.discard = .ignore }) {
        try $0.createSnapshot(name: "s", seconds: 0, nanoseconds: 0)
      }
    }
    guard try imageHash(folder.path("start.qcow2")) == imageHash(folder.path("ours.qcow2")) else {
      throw TestFailure(
        "\(image.name): the prepared images differ: "
          + (try ImageStructure.difference(file: folder.path("start.qcow2"), folder.path("ours.qcow2"))))
    }
  }

  private static func must(_ tool: String, _ arguments: [String], stdin: [UInt8] = []) throws {
    let result = try TestSupport.run(tool, arguments, stdin: stdin, timeout: 300)
    guard result.status == 0 else {
      throw TestFailure("\(tool) \(arguments): \(result.stdout)\(result.stderr)")
    }
  }

  private func withEngine(
    _ name: String, _ change: (inout Image.Options) -> Void, _ body: (Image) throws -> Void
  ) throws {
    var options = Image.Options()
    options.writable = true
    options.cache = .writeback
    if image.hasBacking {
      options.backing = RawLayer(try FileStorage(path: folder.path("base.raw"), mode: .readOnly))
    }
    change(&options)
    try withImage(folder.path(name), options, body)
  }

  private func ours(_ requests: [GuestRequest], _ name: String, _ change: (inout Image.Options) -> Void)
    throws
  {
    try withEngine(name, change) { image in for request in requests { try image.carryOut(request) } }
  }

  private func genuine(_ requests: [GuestRequest], _ name: String, _ options: String?) throws {
    let script = RandomScript.ioArguments(requests).filter { $0 != "-c" }.joined(separator: "\n") + "\n"
    let target =
      options.map { ["--image-opts", "driver=qcow2,file.filename=\(folder.path(name)),\($0)"] }
      ?? ["-f", "qcow2", folder.path(name)]
    try Self.must("qemu-io", ["-t", "writeback"] + target, stdin: Array(script.utf8))
  }

  /// Runs all operations through the engine and returns what is wrong afterwards.
  func run(_ policy: WindowPolicy) throws -> [String] {
    try? FileManager.default.removeItem(atPath: folder.path("ours.qcow2"))
    try FileManager.default.copyItem(atPath: folder.path("start.qcow2"), toPath: folder.path("ours.qcow2"))
    var problems: [String] = []
    try withEngine("ours.qcow2", policy.change) { opened in
      for window in self.image.cases {
        var twin = RawTwin(
          Array(self.prepared.bytes[Int(window.start)..<Int(window.start + WindowImage.window)]))
        let local = window.operation.request(window.head, window.tail - window.head)
        if case .discard = local, opened.discardGranularity == .subcluster {
          // Streams are given up as a whole, everything else by subcluster.
          for index in 0..<UInt64(3) {
            let start = index * WindowImage.clusterSize
            let from = max(window.head, start)
            let to = min(window.tail, start + WindowImage.clusterSize)
            let entry = try opened.l2Entry(at: GuestOffset(window.start + start))
            let unit = entry.isCompressed ? WindowImage.clusterSize : opened.geometry.subclusterSize
            twin.apply(.discard(offset: from, count: to - from), clusterSize: unit, discards: true)
          }
        } else {
          twin.apply(local, clusterSize: WindowImage.clusterSize, discards: opened.options.discard == .unmap)
        }
        try opened.perform(window.request)
        let found = try opened.bytes(at: window.start, count: Int(WindowImage.window))
        if !sameBytes(found, twin.bytes) {
          let at = zip(found, twin.bytes).enumerated().first { $0.element.0 != $0.element.1 }?.offset ?? -1
          problems.append("\(window.description): wrong byte at \(at)")
        }
        problems += try self.lawBreaches(opened, window)
      }
    }
    let check = try TestSupport.run("qemu-img", ["check", "-q", folder.path("ours.qcow2")], timeout: 120)
    if check.status != 0 { problems.append("check: \(check.stdout)\(check.stderr)") }
    return problems
  }

  /// Entries that the format does not allow, or that contradict the operation.
  private func lawBreaches(_ opened: Image, _ window: WindowCase) throws -> [String] {
    var breaches: [String] = []
    let geometry = opened.geometry
    for index in 0..<3 {
      let guest = window.start + UInt64(index) * WindowImage.clusterSize
      let entry = try opened.l2Entry(at: GuestOffset(guest))
      func breach(_ text: String) { breaches.append("\(window.description), cluster \(index): \(text)") }
      if case .invalid(let fault) = geometry.mapping(of: entry) { breach("invalid, \(fault)") }
      if !entry.isCompressed && entry.descriptor & L2Entry.reservedMask != 0 { breach("reserved bits") }
      if entry.isCompressed && (entry.bitmap.raw != 0 || entry.isCopied) { breach("compressed with bits") }
      if image.isExtended {
        if entry.bitmap.allocated & entry.bitmap.zero != 0 { breach("allocated and zero") }
        if entry.offsetBits == 0 && !entry.isCompressed && entry.bitmap.allocated != 0 { breach("no host") }
        if !entry.isCompressed && entry.descriptor & 1 != 0 { breach("zero flag") }
      }
      if !entry.isCompressed, entry.offsetBits != 0 {
        let count = try opened.refcount(of: HostCluster(entry.offsetBits / WindowImage.clusterSize))
        if entry.isCopied != (count == 1) { breach("COPIED is \(entry.isCopied), refcount \(count)") }
        if count == 0 || count > 2 { breach("refcount \(count)") }
      }
      // Every subcluster that a write touched is data now.
      guard window.operation == .write, !entry.isCompressed else { continue }
      let from = max(window.head, UInt64(index) * WindowImage.clusterSize)
      let to = min(window.tail, UInt64(index + 1) * WindowImage.clusterSize)
      var at = from
      while at < to {
        let state = geometry.state(of: entry, geometry.subcluster(of: GuestOffset(window.start + at)))
        if state != .data { breach("\(state) where data was written") }
        at = (at | geometry.subclusterMask) + 1
      }
    }
    return breaches
  }

  /// Runs the operations through the genuine tool as well; nil if the files then hold the same bytes.
  func compare(_ policy: WindowPolicy) throws -> String? {
    try? FileManager.default.removeItem(atPath: folder.path("genuine.qcow2"))
    try FileManager.default.copyItem(
      atPath: folder.path("start.qcow2"), toPath: folder.path("genuine.qcow2"))
    try genuine(image.operations, "genuine.qcow2", policy.genuine)
    guard let byte = try firstDifference(folder.path("genuine.qcow2"), folder.path("ours.qcow2")) else {
      return nil
    }
    let structure = try ImageStructure.difference(
      file: folder.path("genuine.qcow2"), folder.path("ours.qcow2"))
    return "first difference at byte \(byte); " + (structure == "" ? "the tables agree" : structure)
  }
}
