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
      throw ImageError(.invalidRequest, "the history has no such moment")
    }
    return try Scene(
      views[0], data: data(in: views, of: 0), like: image, on: layers(in: views), of: .moment(moment))
  }

  /// All operations of the history, those that were taken back behind the others.
  package var history: [Step] { done + undone.reversed() }

  /// One operation step by step, with what a crash behind each step would leave.
  package struct Story {
    /// The line that asked for it.
    package let title: String
    package let trace: StepTrace
    package let survey: CrashSurvey
  }

  /// The story of an operation of the history; nil if there is no such operation. True until the next change.
  package func story(of number: Int) -> Story? {
    guard history.indices.contains(number) else { return nil }
    let step = history[number]
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
        try Scene(
          files[0], data: data(in: files, of: 0), like: image, on: layers(in: files), of: .file("crash")
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

  /// The bytes of the data file of a layer at a moment.
  private func data(in views: [any Storage], of depth: Int) -> (any Storage)? {
    imageFiles.number(depth, .data).map { views[$0.value] }
  }

  /// The layers below as they were at a moment. They are those that are open, unless an operation has changed one.
  private func layers(in views: [any Storage]) throws(ImageError) -> (any GuestLayer)? {
    var bytes: [Int: LayersBelow.Bytes] = [:]
    for (file, part) in imageFiles.all where part.depth > 0 && file.hasHistory {
      guard let number = imageFiles.number(part.depth, part.kind == .data ? .image : part.kind) else {
        continue
      }
      bytes[part.depth] = LayersBelow.Bytes(
        layer: views[number.value], data: data(in: views, of: part.depth))
    }
    return try LayersBelow(image).with(bytes)
  }

  /// The disk as an internal snapshot keeps it; the index is that of ``Image/snapshots``.
  /// - Throws: ``ImageError`` if there is no such snapshot or it cannot be read.
  package func scene(ofSnapshot index: Int) throws(ImageError) -> Scene {
    guard let views = overlays.views(at: HistoryMoment(generation: generation)) else {
      throw ImageError(.invalidRequest, "the history has no such moment")
    }
    return try Scene(snapshot: index, of: image, on: views[0], data: data(in: views, of: 0))
  }

  /// A qcow2 layer below; 1 is the one directly below the image.
  /// - Throws: ``ImageError`` if there is none that is open.
  package func scene(ofLayer depth: Int) throws(ImageError) -> Scene {
    try Scene(layer: depth, below: image)
  }
}
