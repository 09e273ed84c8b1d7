// The image that a script works on, and what its disk must read as.

import Cartography
import Qcow
import QcowFormat
import Storage

final class ScriptSession {
  private(set) var image: Image
  private let storage: SmallStorage
  private let overlay: OverlayStorage?
  private let options: Image.Options
  private let layers = MemoryLayers()
  /// A check found nothing to tell when the script began.
  private let isSound: Bool
  /// A request failed or a crash cut one off, so that flags may not match refcounts that leaked.
  private var hasFailed = false
  /// The disk, if the image was sound and the disk is small.
  private var twin: [UInt8]?

  /// Disks up to this many bytes are compared after every request.
  private static let twinLimit: UInt64 = 192 << 10

  /// Nil if the image does not open for writing.
  init?(_ storage: SmallStorage, _ first: UInt8, _ second: UInt8) {
    self.storage = storage
    overlay = first & 1 == 0 ? nil : OverlayStorage(base: storage, memoryLimit: 64 << 20)
    let target: any Storage = overlay ?? storage
    options = Self.options(target, flags: (first, second), layers, undoable: overlay != nil)
    guard let image = try? Image(target, options: options), image.isWritable else { return nil }
    self.image = image
    isSound = Self.isSound(target)
    twin = nil
    refreshTwin()
  }

  private var target: any Storage { overlay ?? storage }

  private static func options(
    _ storage: any Storage, flags: (UInt8, UInt8), _ layers: MemoryLayers, undoable: Bool
  ) -> Image.Options {
    var options = openOptions(storage, writable: true, layers: layers)
    let (first, second) = flags
    options.cache = first & 2 == 0 ? .writeback : .writethrough
    options.discardNoUnref = first & 4 != 0
    options.discard = first & 8 == 0 ? .unmap : .ignore
    options.passDiscardOther = first & 16 != 0
    options.lazyRefcounts = first & 32 == 0 ? nil : first & 64 != 0
    options.overlapChecks = [.cached, .all, .constant, []][Int(second & 3)]
    options.detectZeroes = [.off, .on, .unmap, .off][Int(second >> 2 & 3)]
    // The smallest caches, so that tables are pushed out.
    if second & 16 != 0 { options.l2CacheSize = 1024 }
    if second & 32 != 0 { options.l2CacheEntrySize = 512 }
    options.marksCorruption = second & 64 == 0
    if undoable {
      // As the explorer opens its images.
      options.cache = .writeback
      options.lazyRefcounts = false
      options.marksCorruption = false
      options.repairsDirty = false
    }
    return options
  }

  /// Nothing is wrong, and nothing is unusual.
  private static func isSound(_ storage: any Storage) -> Bool {
    guard let check = try? ImageCheck(storage, report: { _ in }) else { return false }
    let result = check.run()
    guard result.failure == nil, result.corruptions == 0, result.checkErrors == 0 else { return false }
    var notes = 0
    check.notes { _ in notes += 1 }
    return notes == 0
  }

  // MARK: Requests

  /// False if the script cannot go on.
  func perform(_ request: ScriptRequest) throws -> Bool {
    if request.kind == .reopen {
      guard reopen(crashing: request.value & 1 != 0) else { return false }
      try compare(after: request, isDone: true)
      return true
    }
    // As the explorer does it: every step ends in the overlay, and a failed one is taken back.
    if request.kind == .undo {
      if let overlay { try? undo(overlay, redoing: request.value & 1 != 0) }
      try compare(after: request, isDone: true)
      return true
    }
    overlay?.begin("request")
    var isDone = true
    do {
      try send(request)
      if overlay != nil { try image.flush() }
    } catch is ImageError {
      isDone = false
      hasFailed = true
    }
    if isDone {
      overlay?.commit()
    } else if let overlay {
      overlay.rollback()
      guard (try? image.reload()) != nil else { return false }
    }
    try compare(after: request, isDone: isDone)
    return true
  }

  private func send(_ request: ScriptRequest) throws {
    let place = GuestOffset(request.offset)
    switch request.kind {
    case .write:
      try request.bytes.withUnsafeBytes { try image.write($0, at: place) }
    case .writeZeroBytes:
      let zeroes = [UInt8](repeating: 0, count: Int(request.count))
      try zeroes.withUnsafeBytes { try image.write($0, at: place) }
    case .zeroUnmap: try image.writeZeroes(at: place, count: ByteCount(request.count), mayUnmap: true)
    case .zeroKeep: try image.writeZeroes(at: place, count: ByteCount(request.count), mayUnmap: false)
    case .discard: try image.discard(at: place, count: ByteCount(request.count))
    case .read: _ = read(image, request.offset, Int(min(request.count, ScriptRequest.mostBytes)))
    case .snapshot: try image.createSnapshot(name: "s\(request.value & 3)", seconds: 1, nanoseconds: 2)
    case .apply: try image.applySnapshot(snapshotName(request))
    case .delete: try image.deleteSnapshot(name: snapshotName(request))
    case .resize: try resize(request)
    case .compress: try request.bytes.withUnsafeBytes { try image.writeCompressed($0, at: place) }
    case .flush: try image.flush()
    case .check: FuzzTarget.script.checkOnce(target)
    case .reopen, .undo: break
    case .scan: FuzzTarget.script.scan(image)
    }
  }

  private func snapshotName(_ request: ScriptRequest) -> String {
    let list = image.snapshots
    guard !list.isEmpty else { return "none" }
    return list[Int(request.value) % list.count].name
  }

  private func resize(_ request: ScriptRequest) throws {
    let old = image.geometry.virtualSize
    let step = (request.position * 64 + request.length) & ~511
    let size = request.value & 4 == 0 ? old - min(old, step) : old &+ step
    try image.resize(to: ByteCount(size), preallocation: size < old ? .off : preallocation(request))
  }

  private func preallocation(_ request: ScriptRequest) -> Image.CreateOptions.Preallocation {
    let kinds = Image.CreateOptions.Preallocation.allCases
    return kinds[Int(request.value & 3) % kinds.count]
  }

  /// With `crashing` what was not written is lost. False if the image does not open again.
  private func reopen(crashing: Bool) -> Bool {
    if crashing { hasFailed = true } else if (try? image.close()) == nil { return false }
    overlay?.commit()
    guard let again = try? Image(target, options: options), again.isWritable else { return false }
    image = again
    return true
  }

  private func undo(_ overlay: OverlayStorage, redoing: Bool) throws {
    guard try (redoing ? overlay.redo() : overlay.undo()) != nil else { return }
    try image.reload()
  }

  // MARK: What must hold

  private func refreshTwin() {
    let size = image.geometry.virtualSize
    twin = isSound && size <= Self.twinLimit ? read(image, 0, Int(size)) : nil
  }

  /// A request changes what it says and nothing else.
  private func compare(after request: ScriptRequest, isDone: Bool) throws {
    guard var expected = twin else { return }
    let whole = 0..<expected.count
    var open = Int(request.range.lowerBound)..<Int(request.range.upperBound)
    switch request.kind {
    case .write, .compress: if isDone { expected.replaceSubrange(open, with: request.bytes) }
    case .writeZeroBytes, .zeroUnmap, .zeroKeep:
      if isDone { expected.replaceSubrange(open, with: repeatElement(0, count: open.count)) }
    case .discard: break
    case .apply, .undo, .reopen: open = whole
    case .resize where !isDone: open = whole
    case .resize:
      let kept = Int(min(UInt64(expected.count), image.geometry.virtualSize))
      expected = Array(expected[..<kept])
      open = 0..<0
    default: open = 0..<0
    }
    refreshTwin()
    guard let actual = twin, actual.count >= expected.count else { return }
    if isDone, request.kind != .discard, open != whole { open = 0..<0 }
    for index in expected.indices where !open.contains(index) && actual[index] != expected[index] {
      throw FuzzFinding(
        "after \(request.kind) \(request.offset)+\(request.count) guest byte \(index) is \(actual[index]), not \(expected[index])"
      )
    }
    let isEncrypted = image.header.cryptMethod != 0
    if request.kind == .resize, isDone,
      isEncrypted ? preallocation(request) == .off : preallocation(request) != .metadata
    {
      // As in QEMU, what a shrink left in the last cluster comes back when the disk grows, and clusters
      // mapped in advance hold what lay in their place, which an encrypted image decrypts.
      let new = Int(image.geometry.roundUp(UInt64(expected.count)))
      try require(
        actual.dropFirst(new).allSatisfy { $0 == 0 }, "a grown disk does not end in zeroes")
    }
  }

  /// Closes, and checks what is left.
  func finish() throws {
    let isClosed = (try? image.close()) != nil
    overlay?.commit()
    if isClosed, let twin, twin.count == Int(image.geometry.virtualSize) {
      let options = openOptions(target, writable: false, layers: layers)
      if let again = try? Image(target, options: options) {
        try require(read(again, 0, twin.count) == twin, "the disk reads differently after closing")
      }
    }
    if let overlay { try save(overlay) }
    guard isSound, isClosed, !image.header.incompatible.contains(.dirty) else { return }
    var damage: CheckFinding.Kind?
    let check = try? ImageCheck(target) { finding in
      guard finding.severity == .corruption, damage == nil else { return }
      switch finding.kind {
      case .copiedWrongL1, .copiedWrongL2: if self.hasFailed { return }
      default: break
      }
      damage = finding.kind
    }
    _ = check?.run()
    if let damage { throw FuzzFinding("a sound image is damaged after the script: \(damage)") }
  }

  /// Saving brings the file to what the overlay shows.
  private func save(_ overlay: OverlayStorage) throws {
    guard (try? overlay.save(to: storage)) != nil else { return }
    try require(overlay.length == storage.length, "the saved file has another length")
    for at in stride(from: 0, to: min(overlay.length, 1 << 20), by: 4096) {
      let same = try overlay.bytes(at: at, count: 4096) == storage.bytes(at: at, count: 4096)
      try require(same, "the saved file differs behind \(at)")
    }
  }
}
