// Scenes of a session other than the live one: moments of its history, its internal snapshots and the layers
// below. Looking at one changes nothing, neither what is shown nor any file, whatever the mode.

package import Cartography
package import Qcow
import QcowFormat
package import Storage

extension Session {
  /// The image as it was at a moment of the history, counted in operations that were done or taken back and,
  /// behind them, in events over all files.
  /// - Throws: ``ImageError`` if there is no such moment, or if no image could be opened then.
  package func scene(at moment: HistoryMoment) throws(ImageError) -> Scene {
    guard let views = overlays.views(at: moment) else {
      if moment.generation < overlays.forgotten { throw forgotten.refusal(overlays) }
      throw ImageError(.invalidRequest, "the history has no such moment")
    }
    let below = backing(at: moment)
    let parts = imageFiles.parts(over: below)
    return try Scene(
      views[0], data: Self.bytes(views, parts, 0, [.data]), like: image, on: layers(below, views, parts),
      of: .moment(moment))
  }

  /// An operation of the history, in which those that were taken back come behind the others; nil if there is none.
  package func step(_ number: Int) -> Step? {
    guard number >= 0, number < generations else { return nil }
    return number < done.count ? done[number] : undone[generations - 1 - number]
  }

  /// One operation step by step, with what a crash behind each step would leave.
  package struct Story {
    /// The line that asked for it.
    package let title: String
    package let trace: StepTrace
    package let survey: CrashSurvey
  }

  /// The story of an operation of the history; nil if there is no such operation, if it was dropped from the history,
  /// and if another program did it, whose order is not known. True until the next change.
  package func story(of number: Int) -> Story? {
    guard follower == nil, number >= overlays.forgotten, let step = step(number) else { return nil }
    let states = crashStates(of: number, step)
    let before = states.files(0).flatMap { try? states.image($0) }
    return Story(
      title: step.title,
      trace: StepTrace(step.operations, geometry: geometry, guest: step.range, before: before),
      survey: CrashSurvey(step.operations.events, states))
  }

  /// The states in which a crash during an operation may leave the files.
  private func crashStates(of number: Int, _ step: Step) -> CrashStates {
    CrashStates(
      files: { [overlays] events in
        overlays.views(at: HistoryMoment(generation: number, events: events))
      },
      image: { [unowned self] files throws(ImageError) in
        let below = backing(in: files, during: number, step)
        let parts = imageFiles.parts(over: below)
        return try Scene(
          files[0], data: Self.bytes(files, parts, 0, [.data]), like: image, on: layers(below, files, parts),
          of: .file("crash")
        ).image
      },
      checked: imageFiles.parts.indices.filter {
        imageFiles.parts[$0].kind == .image && ($0 == 0 || step.operations[FileNumber($0)] != nil)
      }.map { FileNumber($0) },
      guest: step.range, tables: tableBytes)
  }

  /// Bytes of the tables that a check of the image reads, about.
  private var tableBytes: ByteCount {
    let tables = (0..<image.l1Count).count { image.l1Entry($0).table != nil }
    let blocks = (0..<image.refcountTableCount).count { image.refcountTableEntry($0).block != nil }
    return ByteCount(UInt64(tables + blocks) * (1 + UInt64(image.snapshots.count)) * geometry.clusterSize)
  }

  /// The layer directly below an image whose files are in a state that a crash during an operation may leave: the
  /// one that the header names in it.
  private func backing(in files: [any Storage], during number: Int, _ step: Step) -> (any GuestLayer)? {
    guard step.before.backing != step.after.backing,
      let after = overlays.views(at: HistoryMoment(generation: number + 1))
    else { return step.before.backing.layer }
    let count = Int(geometry.clusterSize)
    let isNamed = (try? files[0].bytes(at: 0, count: count)) == (try? after[0].bytes(at: 0, count: count))
    return (isNamed ? step.after : step.before).backing.layer
  }

  /// The layer that lay directly below the image at a moment. Inside of a rebase that is the new one as soon as the
  /// header names it.
  private func backing(at moment: HistoryMoment) -> (any GuestLayer)? {
    guard let next = step(moment.generation) else {
      return step(generations - 1).map { $0.after.backing.layer } ?? image.backing
    }
    guard moment.events > 0, next.before.backing != next.after.backing else {
      return next.before.backing.layer
    }
    let named = next.operations.events.lastIndex { $0.event.tag.target == .header } ?? 0
    return (moment.events > named ? next.after : next.before).backing.layer
  }

  /// The bytes of a file of a layer at a moment.
  private static func bytes(
    _ views: [any Storage], _ parts: [ImageFiles.Part], _ depth: Int, _ kinds: [FileOpener.Saved]
  ) -> (any Storage)? {
    parts.firstIndex { $0.depth == depth && kinds.contains($0.kind) }.map { views[$0] }
  }

  /// The layers from `below` on as they were at a moment. They are those that are open, unless an operation has
  /// changed one.
  private func layers(
    _ below: (any GuestLayer)?, _ views: [any Storage], _ parts: [ImageFiles.Part]
  ) throws(ImageError) -> (any GuestLayer)? {
    var bytes: [Int: LayersBelow.Bytes] = [:]
    for (file, part) in zip(overlays.files, parts) where file.hasHistory {
      guard let depth = part.depth, depth > 0,
        let layer = Self.bytes(views, parts, depth, [.image, .raw])
      else { continue }
      bytes[depth] = LayersBelow.Bytes(layer: layer, data: Self.bytes(views, parts, depth, [.data]))
    }
    return try LayersBelow(image, over: below).with(bytes)
  }

  /// The disk as an internal snapshot keeps it; the index is that of ``Image/snapshots``.
  /// - Throws: ``ImageError`` if there is no such snapshot or it cannot be read.
  package func scene(ofSnapshot index: Int) throws(ImageError) -> Scene {
    guard let views = overlays.views(at: HistoryMoment(generation: generation)) else {
      throw ImageError(.invalidRequest, "the history has no such moment")
    }
    return try Scene(
      snapshot: index, of: image, on: views[0], data: Self.bytes(views, imageFiles.parts, 0, [.data]))
  }

  /// A qcow2 layer below; 1 is the one directly below the image.
  /// - Throws: ``ImageError`` if there is none that is open.
  package func scene(ofLayer depth: Int) throws(ImageError) -> Scene {
    try Scene(layer: depth, below: image)
  }
}
