// Another state of the image on all screens: a moment of the history, an internal snapshot, a layer below. It
// is looked at only; what is done next is done to the disk as it is now.

import Cartography
import Qcow
import QcowFormat
import Storage

extension CommandID {
  static let lookAt = CommandID("look-at")
}

/// What `:look-at` can show.
private enum State: String, CaseIterable {
  case now, generation, snapshot, layer

  /// The state as an image to look at; nil for the one that is worked on.
  func scene(_ which: String, of session: Session) throws(CommandError) -> Scene? {
    let number = self == .snapshot || self == .now ? 0 : try Quantity.index(which)
    do throws(ImageError) {
      switch self {
      case .now: return nil
      case .generation: return try session.scene(at: HistoryMoment(generation: number))
      case .layer: return try session.scene(ofLayer: number)
      case .snapshot:
        guard let index = session.image.snapshots.index(idOrName: which) else {
          throw ImageError(.invalidRequest, "no snapshot has the ID or name '\(which)'")
        }
        return try session.scene(ofSnapshot: index)
      }
    } catch { throw CommandError(error.description) }
  }
}

extension Scene.Subject {
  /// The state in two words; nil for the image that is worked on.
  fileprivate func words(_ image: Image) -> String? {
    switch self {
    case .live: nil
    case .moment(let moment): "generation \(moment.generation)"
    case .snapshot(let index):
      "snapshot \(image.snapshots.indices.contains(index) ? image.snapshots[index].name : "")"
    case .layer(let depth): "layer \(depth)"
    case .file(let name): name
    case .column(let policy): policy
    }
  }
}

extension Desk {
  /// What is looked at instead of the disk as it is now; nil if nothing is.
  var otherState: String? {
    other?.name ?? scene.subject.words(session.image).map { Escaping.human($0) }
  }

  /// The disk that is seen, where a search was made: "on the disk as it is now".
  var diskWords: String { otherState.map { "on the disk of \($0)" } ?? "on the disk as it is now" }

  /// Shows another state of the image on the maps, with a way back; nil for the disk as it is. `words` say what is
  /// seen, where its name does not; `name` is what it is called where its subject says too little.
  func explore(_ scene: Scene?, as words: String? = nil, named name: String? = nil) {
    remember()
    // What is left is the state as it was before; who goes to the disk does not want to see the other one again.
    if scene == nil { look(at: nil) }
    show(.explorer)
    if scene != nil { look(at: scene, as: name) }
    tellState(words)
  }

  /// Looks at a state that was looked at before, or at the disk where it is no longer to be had.
  func look(atState state: LookedAt.Key?) {
    guard state != other?.key else { return }
    var scene: Scene?
    if let state, state.revision == session.revision {
      switch state.subject {
      case .moment(let moment): scene = try? session.scene(at: moment)
      case .snapshot(let index): scene = try? session.scene(ofSnapshot: index)
      case .layer(let depth): scene = try? session.scene(ofLayer: depth)
      case .live, .file, .column: break
      }
    }
    guard scene != nil || other != nil else { return }
    look(at: scene, as: scene == nil ? nil : state?.name)
    tellState()
  }

  /// Says what is looked at.
  fileprivate func tellState(_ words: String? = nil) {
    tell((words ?? otherState).map { "\($0); \(wayOut)" } ?? "the disk as it is now")
  }

  /// How another state is left.
  private var wayOut: String {
    currentKind == .explorer
      ? "\(key(.close)) goes back" : "\(CommandID.lookAt) now goes back to the disk"
  }

  /// Why nothing can be changed; nil if it can.
  var refusalOfChange: String? {
    otherState.map { "this is \($0), which can only be looked at; \(wayOut)" }
  }
}

extension ValueType where Value == String {
  fileprivate static var state: ValueType {
    ValueType(candidates: { _ in State.allCases.map(\.rawValue) }) { word throws(CommandError) in
      guard State(rawValue: word) != nil else {
        throw CommandError("there is no state '\(word)'; there are now, generation, snapshot and layer")
      }
      return word
    }
  }
}

enum LookingAt {
  static let commands: [CommandSpec] = [
    CommandSpec(
      .lookAt, .looking,
      arguments: [CommandArgument("STATE", .state), CommandArgument("WHICH", .text, optional: true)],
      hint: "state",
      help: """
        show another state on all screens: generation N of the history, snapshot NAME, layer N below; 'now' goes \
        back to the disk as it is
        """,
      check: { command throws(CommandError) in
        guard let word = command.arguments.first, let state = State(rawValue: word) else {
          throw CommandError("\(CommandID.lookAt) needs now, generation, snapshot or layer")
        }
        guard state == .now || command.arguments.count > 1 else {
          throw CommandError("\(CommandID.lookAt) \(word) needs to know which")
        }
      },
      run: { explorer, command throws(CommandError) in
        let desk = explorer.desk
        guard let state = State(rawValue: command.arguments.first ?? "") else { return }
        let scene = try state.scene(command.arguments.dropFirst().first ?? "", of: desk.session)
        desk.look(at: scene)
        desk.tellState()
      })
  ]
}
