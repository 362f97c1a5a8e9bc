"""A git repository as a source: its mirror, refs, trees and history."""
