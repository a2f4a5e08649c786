"""The measuring stick: known noise is put into a labelled set, and what finds it, and what that helps, is measured."""
