// The second half of `qatlas convert`: with the sources open it makes or opens the target and copies into it, in
// the order in which the genuine tool finds what is wrong.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import QcowFormat
import Storage
import ToolText

/// One copy with its target.
struct ConvertWork {
  let request: ConvertRequest
  let command: ConvertCommand
  let sources: [SourceDisk]
  let target: String
  let streams: Streams
  let line: PercentLine

  private var layers: [any GuestLayer] { sources.map(\.layer) }
  private var words: ConvertRequest.Words { request.words }
  private var name: String { Escaping.human(target) }

  /// What the target is to be; nothing is to be made with `-n`.
  private enum New {
    case image(CreateRequest)
    case raw(RawCreateRequest)
  }

  func run() throws {
    let new = try words.keepsTarget ? nil : makeRequest()
    let bitmaps = try check(new)
    if let new { try make(new) }
    guard CacheWords.known.contains(command.targetCache) else {
      throw streams.failure("Invalid cache option: \(Escaping.human(command.targetCache))")
    }
    let disk = try open(new)
    if bitmaps != nil, (disk as? Image)?.header.version ?? 2 < 3 {
      let format = disk is Image ? "qcow2" : "raw"
      throw streams.failure("Format driver '\(format)' does not support bitmaps")
    }
    if words.compresses, !(disk is Image) {
      throw streams.failure("Compression not supported for this file format")
    }
    if words.keepsTarget, disk.virtualSize < size {
      throw streams.failure("output file is smaller than input file")
    }
    let again = new == nil ? "copies it again" : "makes it anew"
    try Interruption.during("'\(target)' holds a part of the copy; the same command \(again)") {
      try copy(to: disk, new)
    }
    if let bitmaps, let image = disk as? Image { try add(bitmaps, to: image) }
    do throws(ImageError) { try disk.close() } catch {
      throw streams.failure("\(name): \(Escaping.human(error.description))")
    }
  }

  private var size: UInt64 { layers.reduce(0) { $0 &+ $1.virtualSize } }

  private func makeRequest() throws -> New {
    let format = request.targetFormat ?? "raw"
    guard LayerName.known.contains(format), format != "file" else {
      throw streams.failure("Unknown file format '\(Escaping.human(format))'")
    }
    if Tool.isStandIn, let scheme = LayerName.scheme(of: target), scheme != "file" {
      throw streams.failure("Unknown protocol '\(Escaping.human(scheme))'")
    }
    do throws(CreateRequest.Refusal) {
      switch format {
      case "qcow2":
        return .image(
          try CreateRequest(
            copy: target, size: size, lists: words.options, backing: command.backing,
            backingFormat: command.backingFormat))
      case "raw":
        return .raw(
          try RawCreateRequest(
            copy: target, size: size, lists: words.options, backing: command.backing,
            backingFormat: command.backingFormat))
      default:
        throw CreateRequest.Refusal("the format '\(format)' is not supported for targets, only qcow2 and raw")
      }
    } catch { throw streams.failure(error.description, hint: error.hint) }
  }

  /// The layer below the target as it is asked for.
  private func backing(_ new: New?) -> String? {
    if case .image(let create) = new { return create.options.backingFile }
    return command.backing
  }

  /// Looks whether the wishes go together; returns the bitmaps to be copied.
  private func check(_ new: New?) throws -> BitmapCopy? {
    if backing(new) != nil {
      guard !words.targetIsZero else {
        let failure = streams.failure(
          "Cannot use --target-is-zero when the destination image has a backing file")
        // The genuine tool says so and calls it a success.
        throw Tool.isStandIn ? ExitCode(0) : failure
      }
      guard sources.count == 1 else {
        throw streams.failure(
          "Having a backing file for the target makes no sense when concatenating multiple input images")
      }
      if case .image(let create) = new, create.options.backingFormat == nil {
        throw streams.failure("Use of backing file requires explicit backing format")
      }
    }
    if words.compresses { try checkCompression(new) }
    guard words.bitmaps else { return nil }
    guard sources.count == 1 else {
      throw streams.failure("Copying bitmaps only possible with single source")
    }
    guard let image = layers.first as? Image, image.header.version >= 3 else {
      throw streams.failure("Source lacks bitmap support")
    }
    let bitmaps: BitmapCopy
    do throws(ImageError) { bitmaps = try BitmapCopy(image) } catch {
      throw streams.failure(Escaping.human(error.description))
    }
    if !words.skipsBroken, let first = bitmaps.inconsistent.first {
      throw streams.failure(
        "Cannot copy inconsistent bitmap '\(Escaping.human(first))'",
        hint:
          "Try --skip-broken-bitmaps, or use '\(Tool.isStandIn ? Tool.name : "qemu-img") bitmap --remove' "
          + "to delete it\n")
    }
    return bitmaps
  }

  private func checkCompression(_ new: New?) throws {
    switch new {
    case .raw: throw streams.failure("Compression not supported for this file format")
    case .image(let create):
      guard create.encryption == nil else {
        throw streams.failure("Compression and encryption not supported at the same time")
      }
      guard create.options.preallocation == .off else {
        throw streams.failure("Compression and preallocation not supported at the same time")
      }
    case nil: break
    }
  }

  private func make(_ new: New) throws {
    // Two sources may share a file, a target never does, whatever locks say.
    let isUsed = sources.contains { $0.uses(NewImage.path(target)) }
    do throws(Opening.Refusal) {
      switch new {
      case .image(var create):
        create.mayEmptyDataFile = Tool.isStandIn
        if let refusal = create.refusal { throw Opening.Refusal(text: refusal.description) }
        if isUsed, command.share.forcesShare { throw Opening.Refusal(text: SourceDisk.targetIsSource) }
        try NewImage.make(create, target, command.unlock)
      case .raw(let create):
        if let refusal = create.refusal { throw Opening.Refusal(text: refusal.description) }
        if isUsed, command.share.forcesShare { throw Opening.Refusal(text: SourceDisk.targetIsSource) }
        try NewImage.make(create, target)
      }
    } catch {
      let format = request.targetFormat ?? "raw"
      throw streams.failure("\(name): error while converting \(format): \(error.text)", hint: error.hint)
    }
  }

  // MARK: The target

  private func open(_ new: New?) throws -> any GuestDisk {
    var opening: OpenRequest
    do throws(OpenRequest.Refusal) {
      if words.targetIsOptions {
        guard request.targetFormat == nil else {
          throw OpenRequest.Refusal("--image-opts and --format are mutually exclusive")
        }
        opening = try OpenRequest(options: target, readOnly: false, cache: nil, discard: nil)
      } else {
        opening = try OpenRequest(file: NewImage.path(target), readOnly: false, cache: nil, discard: nil)
      }
    } catch {
      guard let reason = error.reasonAgainstOpening else { throw streams.failure(error.description) }
      throw streams.failure("Could not open '\(name)': \(reason)")
    }
    opening.policy = command.chain.added(to: opening.policy)
    // What it names was named on this command line.
    if new != nil { opening.policy.allowsOutside = true }
    opening.options.writable = true
    opening.options.cache = CacheWords.waits.contains(command.targetCache) ? .writethrough : .writeback
    opening.options.discard = request.shortestGap == 0 ? .ignore : .unmap
    opening.options.tellsRepair = streams.repair
    if case .image(let create) = new { opening.secretName = create.encryption?.secretName }
    do throws(Opening.Refusal) { return try open(opening, isNew: new != nil) } catch {
      throw Opening.failure(target, error, streams)
    }
  }

  private func open(_ request: OpenRequest, isNew: Bool) throws(Opening.Refusal) -> any GuestDisk {
    guard !sources.contains(where: { $0.uses(request.file) }) || !command.share.forcesShare else {
      throw Opening.Refusal(text: SourceDisk.targetIsSource)
    }
    var opening = request.opening(self.request.targetFormat)
    opening.demand = .writable
    opening.secret = { file throws(ImageError) in try command.unlock.needed(request, for: file) }
    let opened = try Opening.open(opening, streams)
    (opened.file as? FileStorage)?.waitsForDisk = !isNew || command.targetCache != "unsafe"
    guard let image = opened.image else { return RawDisk(opened.storage, request.options, isGuessed: false) }
    image.report = { streams.error(Escaping.human($0) + "\n") }
    return image
  }

  // MARK: The copy

  private func copy(to disk: any GuestDisk, _ new: New?) throws {
    var options = CopyOptions()
    options.shortestGap = request.shortestGap
    options.compresses = words.compresses
    if command.compressesFast { options.effort = .low }
    options.copiesRanges = words.offloads
    options.bytesPerSecond = request.bytesPerSecond
    options.keepsBelow = backing(new) != nil
    if options.keepsBelow, new != nil { options.sizeBelow = disk.layerBelow?.virtualSize }
    options.targetIsZero =
      words.targetIsZero || new != nil && options.shortestGap > 0 && !options.keepsBelow && disk.isZeroWhenNew
    if words.salvages {
      options.lost = { failure in
        guard !command.progress.quiet else { return }
        streams.error("\(Tool.name): \(CopyWords.lost(failure, reason: Tool.reason(failure.error)))\n")
      }
    }
    do throws(CopyFailure) {
      let copy = try GuestCopy(layers, to: disk, options)
      copy.tells = { done, total in line.show(Float(100 * Double(done) / Double(total))) }
      while try copy.step() {}
      try copy.finish()
    } catch {
      // What has arrived stays, as a sound image.
      try? disk.close()
      throw streams.failure(CopyWords.failure(error, reason: Tool.reason(error.error)))
    }
  }

  private func add(_ bitmaps: BitmapCopy, to image: Image) throws {
    for name in bitmaps.inconsistent {
      streams.error("\(Tool.name): warning: Skipping inconsistent bitmap '\(Escaping.human(name))'\n")
    }
    do throws(BitmapCopy.Failure) { try bitmaps.add(to: image) } catch {
      try? image.close()
      throw streams.failure(Escaping.human("Failed to \(error.verb) bitmap \(error.name): \(error.error)"))
    }
  }
}
